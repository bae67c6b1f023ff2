"""An epoch of DPO, KTO or SFT against TRL 1.16: `python -m benchmarks.training dpo tiny`

Reference log-probabilities are counted on both sides. TRL tuned: no gradient checkpointing, fp32, the best of several
batch sizes, the reference precomputed where that is faster. TRL's defaults as they run are timed once beside it.
KTO's z is a mean over the optimizer batch, so TRL's batch is that batch there: a smaller one is another loss.
"""

import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Message, Prompt, UnpairedPreference
from bedside.training import train
from bedside.training.logprobs import logps
from bedside.training.lora_linear import use_lora_linear
from benchmarks import measuring, shapes
from benchmarks.shapes import PAD, Example

BATCH = 8
"""Rows of an optimizer step by default."""
RATE, BETA = 1e-4, 0.1


@dataclass(frozen=True)
class Setting:
    """How TRL is run."""

    per_device: int
    precomputed: bool = False
    checkpointing: bool = False


def ours(
    kind: str, model: Any, rows: Sequence[Example], batch: int = BATCH, pack: int = 8192
) -> list[dict[str, float]]:
    """One epoch over ``rows`` in their order, references included; one log row for each step."""
    use_lora_linear(model)  # as adapters.py does
    objective = _objective(kind, rows)
    encoded = [_encoded(kind, row, number) for number, row in enumerate(rows)]
    batches = [tuple(range(start, min(start + batch, len(rows)))) for start in range(0, len(rows), batch)]
    mismatches = [train.mismatched_pairs(batch, encoded) if objective.needs_mismatch else () for batch in batches]
    planned = [train.PlannedBatch(*pair) for pair in zip(batches, mismatches, strict=True)]
    references = None
    if objective.needs_reference:
        with torch.no_grad():
            model.eval()
            texts = train.exchanges(encoded, planned)
            references = [train.SequenceLogprob(float(x)) for x in logps(model, texts, PAD)]
    with tempfile.TemporaryDirectory() as folder:
        return train.train_model(
            model,
            train.batches(encoded, planned, references),
            objective,
            train.TrainerSettings(
                RATE, device=shapes.DEVICE, max_tokens_per_microbatch=pack, pad_id=PAD, folder=Path(folder)
            ),
        )


def theirs(kind: str, model: Any, rows: Sequence[Example], setting: Setting, batch: int = BATCH) -> float:
    """Seconds of the same epoch in TRL: its references and its training, not its tokenising."""
    import trl
    from datasets import Dataset

    config, trained_by = {
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": (trl.KTOConfig, trl.KTOTrainer),
        "sft": (trl.SFTConfig, trl.SFTTrainer),
    }[kind]
    more: dict[str, Any] = {} if kind == "sft" else {"beta": BETA, "precompute_ref_log_probs": setting.precomputed}
    if kind == "kto":
        more |= {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    spent = 0.0

    class Timed(trained_by):
        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            seconds, result = measuring.timed(lambda: super(Timed, self)._precompute_ref_logps(*args, **kwargs))
            spent += seconds
            return result

    with tempfile.TemporaryDirectory() as folder:
        args = config(
            output_dir=folder,
            per_device_train_batch_size=setting.per_device,
            gradient_accumulation_steps=batch // setting.per_device,
            gradient_checkpointing=setting.checkpointing,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            optim="adamw_torch",
            max_length=None,
            bf16=model.dtype == torch.bfloat16,
            use_cpu=shapes.DEVICE == "cpu",
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            train_sampling_strategy="sequential",
            **more,
        )
        data = Dataset.from_list([_text_row(kind, row) for row in rows])
        trl_trainer = Timed(model, args=args, train_dataset=data, processing_class=shapes.tokenizer(_vocabulary(model)))
        spent += measuring.timed(trl_trainer.train)[0]
    if "ref" in model.peft_config:
        model.delete_adapter("ref")  # TRL copied the initial adapter; the next round copies its own
    return spent


def agree(kind: str, size: str, rows: Sequence[Example]) -> float:
    """The relative difference of both adapters after a short epoch. SystemExit if it is 1e-4 or more."""
    ends = []
    for side in (ours, lambda k, m, r: theirs(k, m, r, Setting(BATCH))):
        model = shapes.adapted(size)
        before = shapes.trained(model)
        side(kind, model, rows)
        ends.append(shapes.trained(model))
    far = max(float((ends[0][n] - ends[1][n]).norm() / ends[1][n].norm()) for n in before)
    moved = max(float((ends[1][n] - before[n]).norm() / before[n].norm()) for n in before)
    if not far < 1e-4 < moved:
        message = f"{kind} {size}: weights differ by {far:.1e} relative after moving {moved:.1e}"
        raise SystemExit(f"{message}; nothing is timed")
    return far


def tuned(kind: str, size: str, rows: Sequence[Example]) -> Setting:
    """The fastest of TRL's settings among those that give the same result."""
    sizes = (BATCH,) if kind == "kto" else ((2, 4, BATCH) if size == "tiny" else (4,))
    settings = [
        Setting(n, precomputed) for n in sizes for precomputed in ((False,) if kind == "sft" else (False, True))
    ]
    model = shapes.adapted(size)
    return min(settings, key=lambda setting: theirs(kind, model, rows, setting)) if len(settings) > 1 else settings[0]


def ask(kind: str, size: str, *, smoke: bool = False) -> dict[str, Any]:
    """Ratios of an epoch, in rounds that both sides run in turn."""
    rounds, per_round = (2, 2) if smoke else ((3, 6 * BATCH) if size == "tiny" else (4, BATCH))
    vocabulary = shapes.SIZES[size]["vocab_size"]
    far = agree(kind, "tiny", shapes.examples(2 * BATCH, shapes.SIZES["tiny"]["vocab_size"], seed=99))
    trial = shapes.examples(2 * BATCH if size == "tiny" else 4, vocabulary, seed=98)
    setting = Setting(BATCH) if smoke else tuned(kind, size, trial)
    ratios, details = [], {}
    for skewed in (False,) if smoke or size == "small" else (False, True):
        parts = [shapes.examples(per_round, vocabulary, skewed=skewed, seed=n) for n in range(rounds)]
        seconds = _rounds(kind, size, parts, setting)
        name = f"{kind}_{size}{'_skewed' if skewed else ''}"
        ratios.append(measuring.ratio(name, seconds["trl"], seconds["bedside"]))
        details[name] = {
            "seconds": {side: [round(s, 3) for s in spent] for side, spent in seconds.items()},
            **measuring.rates(useful(kind, size, parts), seconds),
        }
    if size == "tiny":
        ratios.append(_against_defaults(kind, size, shapes.examples(min(per_round, 2 * BATCH), vocabulary), smoke))
    how = {"trl": vars(setting), "weights_agree_to": far, "rows_a_round": per_round, "rounds": rounds}
    return measuring.answer(ratios, **how, **details)


def _rounds(kind: str, size: str, parts: Sequence[Sequence[Example]], setting: Setting) -> dict[str, list[float]]:
    policy, trl_policy = shapes.adapted(size), shapes.adapted(size)
    start = shapes.trained(policy)
    ours(kind, policy, parts[0][:2])
    shapes.restore(policy, start)
    return measuring.alternate(
        {
            "bedside": lambda n: ours(kind, policy, parts[n]),
            "trl": lambda n: theirs(kind, trl_policy, parts[n], setting),
        },
        len(parts),
    )


def _against_defaults(kind: str, size: str, rows: Sequence[Example], smoke: bool) -> measuring.Ratio:
    """TRL's defaults: batches of 8, gradient checkpointing; bf16 is off, because a CPU without it is slow or fails."""
    policy, trl_policy = shapes.adapted(size), shapes.adapted(size)
    setting = Setting(BATCH, checkpointing=True)
    sides: dict[str, Callable[[int], Any]] = {
        "bedside": lambda n: ours(kind, policy, rows),
        "trl": lambda n: theirs(kind, trl_policy, rows, setting),
    }
    seconds = measuring.alternate(sides, 1 if smoke else 2)
    return measuring.ratio(f"{kind}_{size}_defaults", seconds["trl"], seconds["bedside"])


def useful(kind: str, size: str, parts: Sequence[Sequence[Example]]) -> tuple[int, float]:
    """Tokens of the rows, each prompt once, and the FLOP that an epoch needs at least.

    2 FLOP a weight and token forward, 2 more backward (the base is frozen); references and z are forward passes.
    """
    rows = [row for part in parts for row in part]
    prompt, chosen = sum(len(r.prompt) for r in rows), sum(len(r.chosen) for r in rows)
    both = prompt + chosen + (sum(len(r.rejected) for r in rows) if kind == "dpo" else 0)
    passes = {"sft": 4 * both, "dpo": 6 * both, "kto": 6 * both + 2 * both + 2 * chosen}[kind]
    return both, float(passes * shapes.weights(size))


def _objective(kind: str, rows: Sequence[Example]) -> Any:
    more = {"desirable_weight": 1.0, "undesirable_weight": 1.0} if kind == "kto" else {}
    prompt = Prompt((Message("user", "x"),), harm=0)
    return open_plugin(find("objective", kind)(**more), Launch(), {}).for_data(
        [UnpairedPreference(prompt, "x", r.label) for r in rows]
    )


def _encoded(kind: str, row: Example, number: int) -> train.EncodedRow:
    texts = (row.chosen, row.rejected) if kind == "dpo" else (row.chosen,)
    return train.EncodedRow(row.prompt, texts, f"{number:06d}", row.label if kind == "kto" else None)


def _text_row(kind: str, row: Example) -> dict[str, Any]:
    prompt, chosen = shapes.text_of(row.prompt), " " + shapes.text_of(row.chosen)
    if kind == "dpo":
        return {"prompt": prompt, "chosen": chosen, "rejected": " " + shapes.text_of(row.rejected)}
    return {"prompt": prompt, "completion": chosen} | ({"label": row.label} if kind == "kto" else {})


def _vocabulary(model: Any) -> int:
    return int(model.get_base_model().config.vocab_size)


def quiet() -> None:
    """Silence warnings and progress bars of the libraries."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


if __name__ == "__main__":
    quiet()
    print(json.dumps(ask(sys.argv[1], sys.argv[2], smoke="--smoke" in sys.argv)))
