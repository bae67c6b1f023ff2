"""From preferences to a checkpoint: one LoRA training with one objective, on ``transformers.Trainer``.

    encode      UnpairedPreference | PreferencePair | Demonstration -> token ids; sampled ids are kept
    plan        optimizer batches in a seeded order, and for KTO the mismatches of each batch
    logprobs    log π_ref of each exchange, in a separate stage, so that references can be read and checked
    batches     the plan with ids and references filled in
    train       one loop, the same for every objective

A mismatch is a prompt with the completion of a row of another *group*. The prompts of one group are variants of one
scenario and share their answers, so a mismatch within a group would not estimate KTO's z. The other row has the same
harm level, and its completion about the same length, if the batch has such a row. Otherwise an answer that no policy
would give to this prompt, such as a refusal of a harmless one, has so low a log-ratio that z would be 0 in most steps.

One item of the Trainer's data set is one optimizer batch. A training step

    1. computes KTO's z over the whole batch, without gradient, if the objective needs it;
    2. splits the batch into micro-batches by their number of tokens, and sums the gradients of these.

z carries no gradient, so the split changes memory and never the result. Several processes share the forward passes of
z and the micro-batches, and each takes the same step; to the Trainer each is the only one. Learning-rate schedule,
optimizer state, checkpoints and resuming are the Trainer's; a checkpoint counts only with its file ``finished``, which
holds the digests of the others.

Training curves come from the Trainer's own integrations: one run for each training, named as in the report.

Besides loss, gradient norm and learning rate, they and the stage's log show the values of ``step_log``.

    tensorboard             runs/NAME/tensorboard/LABEL; the Trainer would write among its checkpoints, which it deletes
    trackio, mlflow, wandb  run NAME/LABEL, where their own settings say (MLFLOW_TRACKING_URI, WANDB_MODE ...)
"""

import contextlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from bedside.core.distributed import Ranks, SingleRank, rejoin, share
from bedside.core.errors import StageError
from bedside.core.hashing import digest_file
from bedside.core.protocols import Objective, Policy, Progress, RewardObjective
from bedside.core.types import Checkpoint, Demonstration, Preference, PreferencePair, Prompt, UnpairedPreference
from bedside.data.io import write_json
from bedside.data.prompts import require_room
from bedside.training.adapters import digest_adapter, disk_full_as_oserror
from bedside.training.backbone import gradient_checkpointing, pack_tokens
from bedside.training.collectives import add_gradients_in_order, require_same_weights
from bedside.training.logprobs import TokenizedExchange, by_prompt, logps
from bedside.training.lora_linear import lora_weight_cache
from bedside.training.objectives import Scores
from bedside.training.packing import microbatches
from bedside.training.step_log import STATISTICS, reward_statistics

_LOGGED = ("step", "loss", "grad_norm", "learning_rate", *STATISTICS)


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A training row as token ids, the group within which it has no mismatch, and the harm level (None: not known)."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    group: str
    label: bool | None = None
    level: int | None = None
    room: int | None = None
    """The most tokens of a completion to this prompt; None: any number."""
    truncated: int = 0
    """How many of the completions lost their end."""

    @property
    def band(self) -> tuple[int, int]:
        """What the rows of a mismatch should have in common: the level, and the octave of the completion's length in
        tokens."""
        return -1 if self.level is None else self.level, len(self.completions[0]).bit_length()


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One optimizer batch: indices of its rows, and for each mismatch (row of the prompt, row of the completion)."""

    rows: tuple[int, ...]
    mismatches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceLogprob:
    """The result for one exchange: log π(y|x), or a KL divergence per token."""

    nats: float


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """K completions of one prompt, with log π_ref (nats) of each. ``len()`` counts prompt and completion tokens."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    reference: tuple[float, ...] | None = None
    label: bool | None = None

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))

    def exchanges(self) -> list[TokenizedExchange]:
        """The prompt with each of its K completions."""
        return [TokenizedExchange(self.prompt, completion) for completion in self.completions]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A prompt with the completion of another group, and its log π_ref (nats): one term of KTO's z."""

    exchange: TokenizedExchange
    reference: float


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer batch."""

    rows: tuple[TrainingRow, ...]
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """Settings of one training. Most have the names of ``TrainingArguments``."""

    learning_rate: float
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_steps: int = 50
    max_tokens_per_microbatch: int = 8192
    gradient_checkpointing: bool = False
    """Layers keep their input only and are computed again in the backward pass: less memory, the same gradients."""
    seed: int = 0
    device: str = "cpu"
    report_to: str = "none"
    run_name: str = "bedside"
    curves: Path = Path("tensorboard")
    """Folder for the TensorBoard files of this training."""
    ranks: Ranks = field(default_factory=SingleRank)
    """The processes that share the micro-batches. Only the first one saves and reports."""
    pad_id: int = 0
    folder: Path = Path("checkpoints")
    """Where checkpoints are written, and where a killed training is continued from."""
    on_step: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of steps taken and the total."""


def encode(rows: Sequence[Preference], policy: Policy, max_length: int | None = None) -> list[EncodedRow]:
    """The token ids of each row. Completions that have sampled ids keep them.

    ``max_length``: the most tokens of a prompt and a completion together. A cut completion also loses its end of turn,
    so it does not teach where to stop. DataError for a prompt that leaves no space for a completion.
    """
    return [_truncate(_encode_row(row, policy), row.prompt, max_length) for row in rows]


def plan(rows: Sequence[EncodedRow], *, batch_size: int, epochs: int, seed: int, mismatch: bool) -> list[PlannedBatch]:
    """Every row once in each epoch, shuffled by ``seed``; the last batch of an epoch may be smaller."""
    shuffle = random.Random(seed)
    planned: list[PlannedBatch] = []
    for _ in range(epochs):
        order = list(range(len(rows)))
        shuffle.shuffle(order)
        for start in range(0, len(order), batch_size):
            batch = tuple(order[start : start + batch_size])
            planned.append(PlannedBatch(batch, mismatched_pairs(batch, rows) if mismatch else ()))
    return planned


def mismatched_pairs(batch: Sequence[int], rows: Sequence[EncodedRow]) -> tuple[tuple[int, int], ...]:
    """(row of the prompt, row of the completion) of two groups each, for KTO's z: one for each prompt of ``batch``.

    Rows of one level and length band, sorted by group, are rotated by the size of their largest group. A row that would
    be paired within its group takes the completion nearest in level, then in length. In a batch of one group there is
    none.
    """
    order = sorted(batch, key=lambda i: rows[i].group)
    bands = {rows[i].band: [j for j in order if rows[j].band == rows[i].band] for i in order}
    found = {x: y for members in bands.values() for x, y in _rotated(members, rows)}
    for x in batch:
        others = [y for y in batch if rows[y].group != rows[x].group]
        if x not in found and others:
            found[x] = min(others, key=lambda y: _distance(rows[x], rows[y]))
    return tuple((x, found[x]) for x in order if x in found)


def _rotated(members: Sequence[int], rows: Sequence[EncodedRow]) -> list[tuple[int, int]]:
    """Pairs of two groups; ``members`` are sorted by group."""
    shift = max(Counter(rows[i].group for i in members).values())
    pairs = [(x, members[i - shift]) for i, x in enumerate(members)]
    return [(x, y) for x, y in pairs if rows[x].group != rows[y].group]


def _distance(one: EncodedRow, other: EncodedRow) -> tuple[int, int]:
    """Distance in harm level, then in completion tokens."""
    return abs(one.band[0] - other.band[0]), abs(len(one.completions[0]) - len(other.completions[0]))


def exchanges(rows: Sequence[EncodedRow], planned: Sequence[PlannedBatch]) -> list[TokenizedExchange]:
    """Every exchange that needs a reference: first those of the rows, then the mismatches, in the order of the plan."""
    return [
        *(TokenizedExchange(row.prompt, completion) for row in rows for completion in row.completions),
        *(_mismatched_exchange(rows, pair) for batch in planned for pair in batch.mismatches),
    ]


def token_plan(texts: Sequence[TokenizedExchange], max_tokens: int) -> list[list[int]]:
    """Indices in batches of at most ``max_tokens``; exchanges with one prompt are neighbours."""
    order = by_prompt(texts)
    return [[order[n] for n in batch] for batch in microbatches([len(texts[i]) for i in order], max_tokens)]


@torch.no_grad()
def logprobs(texts: Sequence[TokenizedExchange], policy: Policy) -> list[SequenceLogprob]:
    """log π(y|x) of each exchange under ``policy``, without gradient."""
    return [SequenceLogprob(float(value)) for value in logps(policy.module(), texts, policy.renderer.pad_id)]


def kl_to_target(texts: Sequence[TokenizedExchange], policy: Policy) -> list[SequenceLogprob]:
    """KL(policy || target without an adapter) of each exchange, nats per completion token."""
    return [SequenceLogprob(value) for value in policy.kl_to_target(texts)]


def batches(
    rows: Sequence[EncodedRow], planned: Sequence[PlannedBatch], references: Sequence[SequenceLogprob] | None
) -> list[Batch]:
    """The plan with ids and references filled in; ``references`` belong to ``exchanges(rows, planned)``."""
    nats = iter([reference.nats for reference in references or ()])
    filled = [
        TrainingRow(
            row.prompt,
            row.completions,
            None if references is None else tuple(next(nats) for _ in row.completions),
            row.label,
        )
        for row in rows
    ]
    return [
        Batch(
            rows=tuple(filled[i] for i in batch.rows),
            mismatches=tuple(Mismatch(_mismatched_exchange(rows, pair), next(nats)) for pair in batch.mismatches),
        )
        for batch in planned
    ]


def train(
    batches: Sequence[Batch],
    policy: Policy,
    objective: Objective,
    settings: TrainerSettings,
    lora: Mapping[str, Any],
    *,
    folder: Path,
    progress: Progress,
    stage: str,
) -> list[dict[str, float]]:
    """Train the adapter of ``policy``, or a new one, and write it to ``folder/adapter``; one log row for each step."""
    settings = replace(
        settings,
        pad_id=policy.renderer.pad_id,
        folder=folder / "checkpoints",
        on_step=lambda done, total: progress.step(stage, done, total),
    )
    log = train_model(policy.trainable(lora, settings.seed), batches, objective, settings)
    if settings.ranks.rank == 0:
        policy.save_adapter(folder / "adapter")
    return log


def checkpoint(adapter: Path, base: str) -> Checkpoint:
    """The base with the adapter in this folder."""
    return Checkpoint(base=base, adapter=digest_adapter(adapter))


def train_model(
    model: Any, batches: Sequence[Batch], objective: Objective, settings: TrainerSettings
) -> list[dict[str, float]]:
    """Train ``model`` in place on ``batches`` in their order; returns one log row for each step.

    A run that was killed continues from its last checkpoint: on a CPU with the same bits. OSError if the disk is full.
    """
    ranks, folder = settings.ranks, settings.folder
    settings = settings if ranks.rank == 0 else replace(settings, report_to="none")
    trainer = _Trainer(
        model=model,
        args=_training_arguments(settings, folder, len(batches)),
        train_dataset=cast("Any", list(batches)),  # the Trainer takes any sequence, but declares a Dataset
        data_collator=lambda items: dict(zip(["batch"], items, strict=True)),  # one item is a whole batch
        callbacks=[_StepCallback(settings.on_step, ranks), *_curve_callbacks(settings.report_to, settings.curves)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.objective, trainer.pad_id, trainer.settings = objective, settings.pad_id, settings
    last = ranks.gather(_last_finished(folder) if ranks.rank == 0 else None)[0]
    checkpointing = gradient_checkpointing(model) if settings.gradient_checkpointing else contextlib.nullcontext()
    with disk_full_as_oserror(folder), checkpointing:
        trainer.train(resume_from_checkpoint=last)
    return [
        {key: float(entry[key]) for key in _LOGGED if key in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


@torch.no_grad()
def mismatch_kl(model: Any, mismatches: Sequence[Mismatch], pad_id: int, ranks: Ranks = SingleRank()) -> Tensor:
    """Mean of log π(y'|x) − log π_ref(y'|x): a scalar, nats, fp64, without gradient; 0 if there are no mismatches.

    It estimates KL(π || π_ref), and may be below 0.
    """
    if not mismatches:
        return torch.zeros((), dtype=torch.float64, device=model.device)
    reference = sum(m.reference for m in mismatches)
    total = logps(model, [m.exchange for m in mismatches], pad_id, ranks).sum() - reference
    return total / len(mismatches)


def kl_estimate(model: Any, mismatches: Sequence[Mismatch], pad_id: int, ranks: Ranks = SingleRank()) -> Tensor:
    """KTO's z = max(0, ``mismatch_kl``). arXiv 2402.01306, section 4.1."""
    return mismatch_kl(model, mismatches, pad_id, ranks).clamp(min=0.0)


def row_scores(model: Any, rows: Sequence[TrainingRow], z: Tensor | None, tokens_mean: float, pad_id: int) -> Scores:
    """Scores of one micro-batch, with gradient unless the caller turned it off."""
    logp_BK = logps(model, [exchange for row in rows for exchange in row.exchanges()], pad_id).view(len(rows), -1)
    references = [row.reference for row in rows]
    labels = [row.label for row in rows]
    return Scores(
        logp_BK=logp_BK,
        reference_BK=None if None in references else logp_BK.new_tensor(references),
        tokens_BK=logp_BK.new_tensor([[len(c) for c in row.completions] for row in rows]),
        tokens_mean=tokens_mean,
        label_B=None if None in labels else torch.tensor(labels, device=logp_BK.device),
        z=z,
    )


def _encode_row(row: Preference, policy: Policy) -> EncodedRow:
    messages = row.prompt.messages
    group = row.prompt.group or row.prompt.id
    label = row.label if isinstance(row, UnpairedPreference) else None
    match row:
        case UnpairedPreference():
            completions = [(row.text, row.ids)]
        case PreferencePair():
            completions = [(row.chosen, row.chosen_ids), (row.rejected, row.rejected_ids)]
        case Demonstration():
            completions = [(row.answer, row.ids)]
    ids = tuple(tuple(ids) or tuple(policy.renderer.completion_ids(messages, text)) for text, ids in completions)
    return EncodedRow(tuple(policy.renderer.prompt_ids(messages)), ids, group, label, row.prompt.harm)


def _truncate(row: EncodedRow, prompt: Prompt, max_length: int | None) -> EncodedRow:
    if max_length is None:
        return row
    require_room(prompt, len(row.prompt), max_length)
    room = max_length - len(row.prompt)
    completions = tuple(completion[:room] for completion in row.completions)
    return replace(row, completions=completions, room=room, truncated=sum(len(c) > room for c in row.completions))


def _mismatched_exchange(rows: Sequence[EncodedRow], pair: tuple[int, int]) -> TokenizedExchange:
    """Cut in the same way as the prompt's own completions."""
    prompt_of, completion_of = pair
    return TokenizedExchange(rows[prompt_of].prompt, rows[completion_of].completions[0][: rows[prompt_of].room])


class _Trainer(Trainer):
    objective: Objective
    pad_id: int
    settings: TrainerSettings
    statistics: dict[str, float]
    """Values of the current step."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the values of the step to the log and the trackers."""
        super().log(logs | self.statistics if "loss" in logs else logs, start_time)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(range(self.args.max_steps))

    @lora_weight_cache()
    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Add the gradients of all micro-batches to the parameters; returns the mean loss of the rows."""
        model.train()
        rows, ranks = inputs["batch"].rows, self.settings.ranks
        kl = mismatch_kl(model, inputs["batch"].mismatches, self.pad_id, ranks)
        z = kl.clamp(min=0.0)
        tokens_mean = sum(len(row.completions[0]) for row in rows) / len(rows)
        losses: list[Tensor] = []
        rewards: list[Tensor] = []
        max_tokens = min(self.settings.max_tokens_per_microbatch, pack_tokens(model.device))
        splits = list(microbatches([len(row) for row in rows], max_tokens))
        parameters = [p for p in model.parameters() if p.requires_grad]
        for turn in (splits[start : start + ranks.world] for start in range(0, len(splits), ranks.world)):
            with add_gradients_in_order(ranks, parameters, len(turn)):
                for indices in share(ranks, turn):
                    scores = row_scores(model, [rows[i] for i in indices], z, tokens_mean, self.pad_id)
                    loss_B = self.objective.loss(scores)
                    self.accelerator.backward(loss_B.sum() / len(rows))
                    losses.append(loss_B.detach().sum())
                    if isinstance(self.objective, RewardObjective):
                        rewards.append(self.objective.rewards(scores).detach())
        self.statistics = self._statistics(rows, rejoin(ranks, rewards), kl)
        return torch.stack(rejoin(ranks, losses)).sum().float() / len(rows)

    def _statistics(self, rows: Sequence[TrainingRow], rewards: Sequence[Tensor], kl: Tensor) -> dict[str, float]:
        """``rewards`` of the micro-batches, which hold the rows in their order."""
        of_rows = torch.cat(list(rewards)).tolist() if rewards else []
        mismatched = {"kl": float(kl), "z": max(0.0, float(kl))} if self.objective.needs_mismatch else {}
        return {
            **(reward_statistics(of_rows, [row.label for row in rows]) if of_rows else {}),
            **mismatched,
            "tokens": float(sum(len(completion) for row in rows for completion in row.completions)),
        }


class _StepCallback(TrainerCallback):
    """Marks finished checkpoints, reports steps, and checks before each checkpoint that all ranks agree."""

    def __init__(self, on_step: Callable[[int, int], None], ranks: Ranks) -> None:
        self.on_step, self.ranks = on_step, ranks

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        write_json(folder / "finished", {f.name: digest_file(f) for f in sorted(folder.iterdir()) if f.is_file()})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        if state.global_step % args.save_steps == 0 or state.global_step == state.max_steps:
            require_same_weights(self.ranks, [p for p in model.parameters() if p.requires_grad])
        if state.global_step == state.max_steps:
            control.should_save = False  # the adapter is written next, so a last checkpoint is not needed
        self.on_step(state.global_step, state.max_steps)


def _training_arguments(settings: TrainerSettings, folder: Path, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=round(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused" if settings.device == "cuda" else "adamw_torch",
        seed=settings.seed,
        save_strategy="steps" if settings.ranks.rank == 0 else "no",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_first_step=True,
        report_to="none" if settings.report_to == "tensorboard" else settings.report_to,
        run_name=settings.run_name,
        project="bedside",
        disable_tqdm=True,
        log_level="error",
        use_cpu=settings.device == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )


def _last_finished(folder: Path) -> str | None:
    """The newest finished checkpoint. Unfinished ones are deleted. StageError if it is not what was written."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    finished = [checkpoint for checkpoint in checkpoints if (checkpoint / "finished").exists()]
    for unfinished in set(checkpoints) - set(finished):
        shutil.rmtree(unfinished)
    if not finished:
        return None
    _check_checkpoint(finished[-1])
    return str(finished[-1])


def _check_checkpoint(folder: Path) -> None:
    try:
        digests = dict(json.loads((folder / "finished").read_bytes()))
    except (ValueError, TypeError):
        digests = {"finished": ""}
    for name, written in digests.items():
        if not (folder / name).is_file() or digest_file(folder / name) != written:
            raise StageError(
                f"{folder / name} is not what was written: remove the folder {folder}, and the same command continues "
                "from the checkpoint before it"
            )


def _curve_callbacks(report_to: str, folder: Path) -> list[TrainerCallback]:
    """Callbacks that the Trainer needs in addition to its own for ``report_to``. TensorBoard writes to ``folder``."""
    if report_to == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        return [TensorBoardCallback(SummaryWriter(log_dir=str(folder)))]
    return [_FinishWandbRun()] if report_to == "wandb" else []


class _FinishWandbRun(TrainerCallback):
    """The integration leaves its run open, and the next training would write into it."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        import wandb

        wandb.finish()
