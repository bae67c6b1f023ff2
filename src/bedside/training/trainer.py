"""One training loop for every objective, on ``transformers.Trainer``.

One item of the data set is one optimizer batch, planned beforehand. A training step

    1. computes z over the whole batch without gradient, where the objective wants it (KTO);
    2. cuts the batch into micro-batches by token budget, and sums their gradients.

z carries no gradient, so the cut changes memory and never the result. Several processes share the forward passes of
z and the micro-batches, and each takes the step; to the Trainer each is the only one. Schedules, optimizer state,
checkpoints and resuming are the Trainer's; a checkpoint counts once its ``finished`` file is there.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from bedside.core.distributed import Alone, Ranks, rejoin, share
from bedside.core.protocols import Objective
from bedside.training import tensorboard
from bedside.training.adapters import disk_told
from bedside.training.backbone import pack_tokens
from bedside.training.collectives import added_in_order, same_weights
from bedside.training.logprobs import ALONE, Exchange, logps, microbatches
from bedside.training.lora_linear import at_rest
from bedside.training.scores import Scores


@dataclass(frozen=True, slots=True)
class Row:
    """K completions of one prompt, with what the reference makes of them."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    reference: tuple[float, ...] | None = None
    wanted: bool | None = None

    def __len__(self) -> int:
        """Tokens: the prompt once, every completion."""
        return len(self.prompt) + sum(map(len, self.completions))

    def exchanges(self) -> list[Exchange]:
        return [Exchange(self.prompt, completion) for completion in self.completions]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A prompt with the completion of another group: one term of KTO's z."""

    exchange: Exchange
    reference: float


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer batch."""

    rows: tuple[Row, ...]
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the Trainer needs to know. Field names are those of ``TrainingArguments``."""

    learning_rate: float
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_steps: int = 50
    max_tokens_per_microbatch: int = 8192
    seed: int = 0
    device: str = "cpu"
    report_to: str = "none"
    run_name: str = "bedside"
    curves: Path = Path("tensorboard")
    """Where TensorBoard's files of this training go."""
    ranks: Ranks = field(default_factory=Alone)
    """Who shares the micro-batches. The first alone saves and reports."""


class _Batches(Dataset[Batch]):
    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index]


def train(
    model: Any,
    batches: Sequence[Batch],
    objective: Objective,
    schedule: Schedule,
    *,
    pad_id: int,
    folder: Path,
    on_step: Callable[[int, int], None],
) -> list[dict[str, float]]:
    """Train ``model`` in place on ``batches`` in their order; returns one log row a step.

    Checkpoints go to ``folder`` and a run that was killed continues from the last one: on a CPU, bit for bit.
    """
    ranks = schedule.ranks
    schedule = schedule if ranks.rank == 0 else replace(schedule, report_to="none")
    trainer = _Trainer(
        model=model,
        args=_arguments(schedule, folder, len(batches)),
        train_dataset=_Batches(batches),
        data_collator=_only,
        callbacks=[_Finished(on_step, ranks), *tensorboard.callbacks(schedule.report_to, schedule.curves)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.objective, trainer.pad_id = objective, pad_id
    trainer.max_tokens, trainer.ranks = schedule.max_tokens_per_microbatch, ranks
    last = ranks.gather(_last_finished(folder) if ranks.rank == 0 else None)[0]
    with disk_told(folder):
        trainer.train(resume_from_checkpoint=last)
    return [_log_row(entry) for entry in trainer.state.log_history if "loss" in entry]


def kl_estimate(model: Any, mismatches: Sequence[Mismatch], pad_id: int, ranks: Ranks = ALONE) -> Tensor:
    """z = max(0, mean of log π(y'|x) − log π_ref(y'|x)), a scalar in nats without gradient; 0 for no pairs."""
    if not mismatches:
        return torch.zeros((), dtype=torch.float64, device=model.device)
    reference = sum(m.reference for m in mismatches)
    with torch.no_grad():
        total = logps(model, [m.exchange for m in mismatches], pad_id, ranks).sum() - reference
    return (total / len(mismatches)).clamp(min=0.0)


def row_scores(model: Any, rows: Sequence[Row], z: Tensor | None, tokens_mean: float, pad_id: int) -> Scores:
    """Scores of one micro-batch, with gradient where the caller allows one."""
    exchanges = [exchange for row in rows for exchange in row.exchanges()]
    logp_BK = logps(model, exchanges, pad_id).view(len(rows), -1)
    references = [row.reference for row in rows]
    wanted = [row.wanted for row in rows]
    return Scores(
        logp_BK=logp_BK,
        reference_BK=None if None in references else logp_BK.new_tensor(references),
        tokens_BK=logp_BK.new_tensor([[len(c) for c in row.completions] for row in rows]),
        tokens_mean=tokens_mean,
        wanted_B=None if None in wanted else torch.tensor(wanted, device=logp_BK.device),
        z=z,
    )


class _Trainer(Trainer):
    objective: Objective
    pad_id: int
    max_tokens: int
    ranks: Ranks

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(range(self.args.max_steps))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        model.train()
        with at_rest():
            return self._gradients(model, inputs["batch"])

    def _gradients(self, model: Any, batch: Batch) -> Tensor:
        """Adds them to the parameters; returns the loss."""
        rows, ranks = batch.rows, self.ranks
        z = kl_estimate(model, batch.mismatches, self.pad_id, ranks)
        tokens_mean = sum(len(row.completions[0]) for row in rows) / len(rows)
        seen: list[Tensor] = []
        budget = min(self.max_tokens, pack_tokens(model.device))
        runs = list(microbatches([len(row) for row in rows], budget))
        parameters = [p for p in model.parameters() if p.requires_grad]
        for turn in (runs[start : start + ranks.world] for start in range(0, len(runs), ranks.world)):
            with added_in_order(ranks, parameters, len(turn)):
                for run in share(ranks, turn):
                    scores = row_scores(model, [rows[i] for i in run], z, tokens_mean, self.pad_id)
                    loss_B = self.objective.loss(scores)
                    self.accelerator.backward(loss_B.sum() / len(rows))
                    seen.append(loss_B.detach().sum())
        return torch.stack(rejoin(ranks, seen)).sum().float() / len(rows)


class _Finished(TrainerCallback):
    """Marks a checkpoint as whole, and reports steps; before that, all ranks must hold the same weights."""

    def __init__(self, on_step: Callable[[int, int], None], ranks: Ranks) -> None:
        self.on_step, self.ranks = on_step, ranks

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "finished").touch()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step % args.save_steps == 0 or state.global_step == state.max_steps:
            same_weights(self.ranks, [p for p in model.parameters() if p.requires_grad])
        if state.global_step == state.max_steps:
            control.should_save = False  # what is whole needs no checkpoint: the adapter is written next
        self.on_step(state.global_step, state.max_steps)


def _arguments(schedule: Schedule, folder: Path, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=steps,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type=schedule.lr_scheduler_type,
        warmup_steps=round(schedule.warmup_ratio * steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        optim="adamw_torch_fused" if schedule.device == "cuda" else "adamw_torch",
        seed=schedule.seed,
        save_strategy="steps" if schedule.ranks.rank == 0 else "no",
        save_steps=schedule.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_first_step=True,
        report_to=tensorboard.by_the_trainer(schedule.report_to),
        run_name=schedule.run_name,
        project="bedside",
        disable_tqdm=True,
        log_level="error",
        use_cpu=schedule.device == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )


def _last_finished(folder: Path) -> str | None:
    """The newest whole checkpoint; half-written ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    for checkpoint in checkpoints:
        if not (checkpoint / "finished").exists():
            shutil.rmtree(checkpoint)
    whole = [c for c in checkpoints if c.exists()]
    return str(whole[-1]) if whole else None


def _only(items: list[Batch]) -> dict[str, Batch]:
    """A data set item is a batch already; the Trainer wants a dict."""
    (batch,) = items
    return {"batch": batch}


def _log_row(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(entry[key]) for key in ("step", "loss", "grad_norm", "learning_rate") if key in entry}
