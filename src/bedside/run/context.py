"""One run on this machine: its config, its plug-ins, and its stages with their cache.

    RunContext    what every step of a run works with
    Opener        the judges, models, datasets and objectives that the config names, and the target with an adapter
    Stages        one call per stage; a finished stage is read from the cache:

        answers    generation requests -> responses      judged   responses -> responses with verdicts
        logprobs   token-id exchanges -> nats            trained  preferences -> checkpoint

The stage's spec has everything that the result depends on: checkpoint, sampling, the wording of steering and rubric,
seed, batch plan. It has no paths and no labels.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from bedside.attacks.transform import BASE, untransformed
from bedside.config.plugins import Plugin, asks_for, model_errors_at, open_plugin
from bedside.config.rendering import source
from bedside.config.schema import AlignConfig, Config, TrainingStep
from bedside.core.distributed import Ranks, SingleRank, run_on_all
from bedside.core.errors import ConfigError
from bedside.core.hashing import digest, plain
from bedside.core.protocols import Judge, Launch, Objective, Policy, Progress, declared_endpoints
from bedside.core.results import PARTS_OF_A_CURVE, FilterCounts, TrainingCurve
from bedside.core.types import (
    Checkpoint,
    GenerationRequest,
    JudgedResponse,
    Preference,
    Prompt,
    Response,
    Sampling,
    Verdict,
)
from bedside.data.io import write_jsonl
from bedside.data.responses import AnswerStream
from bedside.judges import prompting
from bedside.models import quantization
from bedside.models.budget import Budget, Spend
from bedside.run import endpoints, environment, generation, launcher, precision
from bedside.run.stage_cache import LEARNED_FROM, StageCache, StageDir, StageOutput
from bedside.training.matmul_speed import bf16_speedup

if TYPE_CHECKING:  # training imports torch, which stages without training do not need
    from bedside.training.logprobs import TokenizedExchange
    from bedside.training.train import Batch, EncodedRow, SequenceLogprob, TrainerSettings


STREAMED_AT_ONCE = 500
"""Answers in one batch of a judge that needs no model."""
LATER_KEYS = {"gradient_checkpointing", "max_length"}
"""Keys of ``align`` that the weights depend on and that are newer than some stored results."""


@dataclass(frozen=True)
class RunContext:
    """What every step of a run uses."""

    config: Config
    opener: "Opener"
    cache: StageCache

    @property
    def stages(self) -> "Stages":
        """Answers, judgements, log-probabilities and trainings. A finished stage is read from the cache."""
        return Stages(self.config, self.opener, self.cache)

    @property
    def target(self) -> Policy:
        return self.opener.target

    @property
    def launch(self) -> Launch:
        return self.opener.launch

    @property
    def progress(self) -> Progress:
        return self.cache.progress

    @property
    def folder(self) -> Path:
        """The run folder: config, cached stages, events, report."""
        return self.cache.root

    @property
    def is_main_process(self) -> bool:
        """True if this process writes the files that people read."""
        return self.cache.is_main_process

    def without_judgement_cache(self) -> "RunContext":
        """The same run, but its judges do not use the judgement cache: for trials and audits."""
        return replace(self, opener=self.opener.without_judgement_cache())


def open_run(
    config: Config,
    progress: Progress,
    *,
    target: bool = True,
    ranks: Ranks | None = None,
    measure: Callable[[Sequence[tuple[int, int]]], float] = bf16_speedup,
) -> RunContext:
    """The run of ``config`` on this machine. The target is loaded only if ``target`` is true.

    ``ranks``: the processes that share the run. All call this function together; if one fails, all raise the error.
    Without ``ranks``, a second process of a launcher is a ConfigError.
    ``measure``: how many times as fast bfloat16 is as float32, for ``target.dtype: auto``; see ``run.precision``.
    """
    if ranks is None:
        launcher.require_one_process("this")
    ranks = ranks or SingleRank()
    launch = run_on_all(ranks, lambda: _launch(config))
    with model_errors_at("target"):
        settled = precision.settle(config, launch, ranks, progress, measure if target else None)
    environment.silence_libraries()
    numerics = environment.numerics(precision.of_target(settled, launch))
    numerics += quantization.numerics(getattr(settled.target, "quantize", None))
    with model_errors_at("target"):
        numerics += _engine(settled, launch) if target else ()
    cache = StageCache(_folder(settled), numerics, progress, ranks=ranks)
    return run_on_all(ranks, lambda: _with_target(settled, precision.of_others(settled, launch), cache, load=target))


def _engine(config: Config, launch: Launch) -> tuple[str, ...]:
    """Name and version of the server that answers for the target; empty if there is none."""
    return tuple(config.target.engine(launch)) if getattr(config.target, "serve", None) else ()


def _launch(config: Config) -> Launch:
    environment.require_reporter(config.report_to)
    return environment.launch(config.device, config.seed)


def _with_target(config: Config, launch: Launch, cache: StageCache, *, load: bool) -> RunContext:
    run = _without_target(config, launch, cache)
    with model_errors_at("target"):
        policy = open_plugin(config.target, launch, run.opener.resources) if load else None
    return replace(run, opener=replace(run.opener, target=cast("Policy", policy)))


def open_run_without_models(config: Config, progress: Progress) -> RunContext:
    """The run of ``config`` for judges that need no model. Their verdicts do not depend on torch or its version."""
    launcher.require_one_process("this")
    return _without_target(config, Launch(seed=config.seed), StageCache(_folder(config), ("no model",), progress))


def _folder(config: Config) -> Path:
    return Path(config.runs) / config.run


def _without_target(config: Config, launch: Launch, cache: StageCache) -> RunContext:
    resources = endpoints.resources(config, cache, environment.secret)
    return RunContext(config, Opener(config, launch, cache.root, cast("Policy", None), resources), cache)


@dataclass(frozen=True)
class Opener:
    """Opens the plug-ins of one run on one machine with one target."""

    config: Config
    launch: Launch
    folder: Path
    """The run folder. Paths of checkpoints are relative to it."""
    target: Policy
    resources: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Budget, secrets and judgement cache, by the names that plug-ins declare in ``needs``."""

    def open(self, plugin: Plugin, policy: Checkpoint | None = None) -> Any:
        """``plugin``, opened. A plug-in that needs the policy in training gets ``policy``, by default the target."""
        resources: dict[str, Any] = {**self.resources, "target": self.target}
        if asks_for(plugin, "policy"):
            resources["policy"] = self.policy(policy or self.target.checkpoint)
        judge_keys = (f"judges.{key}" for key, judge in self.config.judges.items() if judge is plugin)
        with model_errors_at(next(judge_keys, plugin.kind)):
            opened = open_plugin(plugin, self.launch, resources)
        if self.launch.world > 1 and declared_endpoints(opened):
            raise ConfigError(
                f"{plugin.kind} calls an endpoint, and {self.launch.world} processes would each count their own "
                "spending; start one process: it keeps `concurrency` calls in flight"
            )
        return opened

    def policy(self, checkpoint: Checkpoint) -> Policy:
        """The target with the adapter of ``checkpoint``. ConfigError for an adapter on an endpoint."""
        if checkpoint.id == self.target.checkpoint.id and checkpoint.path is None:
            return self.target
        self.require_local_target("load an adapter")
        return self.target.with_adapter(None if checkpoint.path is None else self.folder / checkpoint.path, checkpoint)

    def require_local_target(self, action: str = "be trained") -> None:
        """ConfigError if the target is behind an endpoint: its weights are not on this machine."""
        if not isinstance(self.target, Policy):
            raise ConfigError(
                f"target: {endpoints.model_name(self.target)} is an endpoint: it answers and is judged, it cannot "
                f"{action} here; name a local folder or a hub id in target.model"
            )

    def without_judgement_cache(self) -> "Opener":
        """The same, but its judges do not use the judgement cache: for trials and audits."""
        return replace(
            self, resources={name: value for name, value in self.resources.items() if name != "judgement_cache"}
        )

    def spending(self) -> Mapping[str, Spend]:
        """What this run has spent so far, by endpoint."""
        budget: Budget | None = self.resources.get("budget")
        return dict(budget.spent) if budget else {}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The input of one training, and its log."""

    rows: int
    log: tuple[Mapping[str, float], ...]
    """One per optimizer step. ``training.train`` and ``training.step_log`` explain the values."""
    answers: int = 0
    """Answers in the rows, if ``align.max_length`` may cut some."""
    truncated: int | None = None
    """How many of them were cut; None if nothing is ever cut."""

    @property
    def losses(self) -> tuple[float, ...]:
        """One per optimizer step: the mean over the rows of its batch."""
        return tuple(step["loss"] for step in self.log)

    def truncation_counts(self, name: str) -> list[FilterCounts]:
        """For summary and report: how many answers were cut; nothing if answers are never cut."""
        if self.truncated is None:
            return []
        notes = {"answers": float(self.answers), "answers cut at align.max_length": float(self.truncated)}
        return [FilterCounts(f"training rows: {name}", self.rows, notes=notes)]

    def curve(self, name: str) -> TrainingCurve:
        """The whole training in a few points."""
        parts = min(len(self.log), PARTS_OF_A_CURVE)
        ends = [len(self.log) * part // parts for part in range(parts + 1)] if parts else []
        keys = dict.fromkeys(key for step in self.log for key in step if key != "step")
        return TrainingCurve(
            name,
            len(self.log),
            {key: tuple(_mean(self.log[start:end], key) for start, end in pairwise(ends)) for key in keys},
        )


def _as_asked(responses: StageOutput[Response] | Sequence[Response]) -> StageOutput[Response] | Sequence[Response]:
    """The same answers, each with the request before any attack; ``responses`` itself if there was no attack."""
    if not any(BASE in response.prompt.metadata for response in responses):
        return responses
    return [replace(response, prompt=untransformed(response.prompt)) for response in responses]


def _mean(steps: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [step[key] for step in steps if key in step]
    return fmean(values) if values else None


@dataclass(frozen=True)
class Stages:
    """The stages of one run. ``label`` names a stage for people; it does not change the result."""

    config: Config
    opener: Opener
    cache: StageCache

    @property
    def sampling(self) -> Sampling:
        g = self.config.generate
        return Sampling(g.max_new_tokens, g.temperature, g.top_p, self.opener.launch.seed)

    def answers(
        self,
        requests: Sequence[GenerationRequest],
        checkpoint: Checkpoint,
        label: str,
        max_new_tokens: int | None = None,
    ) -> StageOutput[Response]:
        """One response per request, in order. DataError for a prompt that leaves no space for an answer.

        ``max_new_tokens``: None takes the value of ``generate``.
        """
        policy = self.opener.policy(checkpoint)
        sampling = replace(self.sampling, max_new_tokens=max_new_tokens or self.sampling.max_new_tokens)
        lengths = policy.lengths([generation.conversation(request) for request in requests])
        generation.check_lengths(requests, lengths, sampling, policy.context)
        responses = self.cache.map(
            "generate",
            [checkpoint.id, plain(sampling), digest(source("steer.jinja"))],
            requests,
            lambda batch: generation.generate(batch, policy, sampling),
            Response,
            self._batch_plan(policy, lengths),
            label=f"{label}: answer",
            concurrency=endpoints.concurrency(policy),
        )
        self._tell_notes(policy)
        return responses

    def judged(
        self, responses: StageOutput[Response] | Sequence[Response], by: Judge, label: str
    ) -> list[JudgedResponse]:
        """Each response with the verdict of the judge ``by``, in order.

        An answer to an attack is judged with the original request, because the attack is on the assistant.
        """
        shown = _as_asked(responses)
        verdicts = self.cache.map(
            "judge",
            by.name,
            shown,
            lambda batch: prompting.judge(batch, by),
            Verdict,
            self._batch_plan(by, [len(r.prompt.text) + len(r.text) for r in shown]),
            label=f"{label}: judge",
            concurrency=endpoints.concurrency(by),
        )
        self._tell_notes(by)
        if shown is responses:
            return prompting.join(responses, verdicts)
        return prompting.join(responses, (replace(v, response=r.id) for r, v in zip(responses, verdicts, strict=True)))

    def streamed_verdicts(self, responses: AnswerStream, by: Judge, label: str) -> StageOutput[Verdict]:
        """The verdict of the judge ``by`` on each response, in order. No more than a batch of responses is kept."""
        starts = range(0, len(responses), STREAMED_AT_ONCE)
        return self.cache.map(
            "judge",
            by.name,
            responses,
            lambda batch: prompting.judge(batch, by),
            Verdict,
            [list(range(start, min(start + STREAMED_AT_ONCE, len(responses)))) for start in starts],
            label=f"{label}: judge",
        )

    def logprobs(
        self, texts: "Sequence[TokenizedExchange]", checkpoint: Checkpoint, label: str
    ) -> "StageOutput[SequenceLogprob]":
        """log π(y|x) of token-id exchanges under ``checkpoint``, nats."""
        from bedside.training import train

        policy = self.opener.policy(checkpoint)
        return self.cache.map(
            "logprobs",
            checkpoint.id,
            texts,
            lambda batch: train.logprobs(batch, policy),
            train.SequenceLogprob,
            train.token_plan(texts, self.config.align.max_tokens_per_microbatch),
            label=f"{label}: log-probabilities",
        )

    def kl(self, texts: "Sequence[TokenizedExchange]", checkpoint: Checkpoint, label: str) -> list[float]:
        """KL of ``checkpoint`` to the target without adapter on each exchange, nats per completion token."""
        from bedside.training import train

        policy = self.opener.policy(checkpoint)
        rows = self.cache.map(
            "kl",
            [checkpoint.id, self.opener.target.checkpoint.id],
            texts,
            lambda batch: train.kl_to_target(batch, policy),
            train.SequenceLogprob,
            train.token_plan(texts, self.config.align.max_tokens_per_microbatch),
            label=f"{label}: KL",
        )
        return [row.nats for row in rows]

    def trained(
        self, rows: Sequence[Preference], step: TrainingStep, *, start: Checkpoint, reference: Checkpoint, label: str
    ) -> Checkpoint:
        """``start`` after one training ``step`` on ``rows``. ``reference``: the objective's reference policy."""
        from bedside.training import train

        self.opener.require_local_target()
        objective: Objective = self.opener.open(step.objective).for_data(rows)
        spec = _training_spec(step, self.config.align, self.opener.launch.seed)
        stage_dir = self.cache.stage_dir("train", spec, digest(rows), start.id, reference.id)
        if not self.cache.broadcast(stage_dir, lambda: stage_dir.finished):
            self.cache.log_event("start", stage="train", what=label, rows=len(rows))
            if self.cache.is_main_process:
                write_jsonl(stage_dir.path / LEARNED_FROM, rows)
            encoded = train.encode(rows, self.opener.policy(start), self.config.align.max_length)
            batches = self._batches(encoded, step, objective, reference, label)
            if self.cache.is_main_process:
                shutil.rmtree(stage_dir.adapter, ignore_errors=True)
            log = train.train(
                batches,
                self.opener.policy(start),
                objective,
                self._trainer_settings(step, label),
                _lora(self.config.align),
                folder=stage_dir.path,
                progress=self.cache.progress,
                stage=f"{label}: train",
            )
            if self.cache.is_main_process:
                record = {"label": label, "rows": len(rows), "start": start.path, "log": log}
                stage_dir.finish({**record, **self._tell_truncated(encoded, label)}, *_files(stage_dir.adapter))
            self.cache.barrier()
            self.cache.log_event("done", stage="train", what=label, rows=len(rows))
        if self.cache.is_main_process:  # also after a kill that came before this line
            shutil.rmtree(stage_dir.path / "checkpoints", ignore_errors=True)
        return replace(
            self._checkpoint(stage_dir, start.base),
            objective=step.objective.kind,
            learned_from=digest(rows),
            reference=reference.id if objective.needs_reference else None,
        )

    def scaled(self, checkpoint: Checkpoint, factor: float) -> Checkpoint:
        """The target's weights plus ``factor`` times what ``checkpoint`` adds to them."""
        from bedside.training import adapters

        if factor == 1:
            return checkpoint
        assert checkpoint.path is not None
        stage_dir = self.cache.stage_dir("scale", factor, checkpoint.id)
        if not self.cache.broadcast(stage_dir, lambda: stage_dir.finished):
            if self.cache.is_main_process:
                adapters.scale_adapter(self.cache.root / checkpoint.path, to=stage_dir.adapter, factor=factor)
                record = {"factor": factor, "of": checkpoint.id, "start": checkpoint.path}
                stage_dir.finish(record, *_files(stage_dir.adapter))
            self.cache.barrier()
        scaled = self._checkpoint(stage_dir, checkpoint.base)
        return replace(checkpoint, adapter=scaled.adapter, path=scaled.path)

    def train_result(self, checkpoint: Checkpoint) -> TrainResult:
        """The record of the training that produced ``checkpoint``."""
        assert checkpoint.path is not None
        record = StageDir((self.cache.root / checkpoint.path).parent).record()
        return TrainResult(record["rows"], tuple(record["log"]), record.get("answers", 0), record.get("truncated"))

    def require_room(self, prompts: Sequence[Prompt], places: Mapping[str, str]) -> None:
        """DataError for the first prompt that leaves no space for an answer within ``align.max_length``.

        ``places``: file and row of each prompt, by its id.
        """
        most = self.config.align.max_length
        if most is not None:
            lengths = self.opener.target.lengths([prompt.messages for prompt in prompts])
            generation.check_training_lengths(prompts, lengths, most, places)

    def _tell_truncated(self, encoded: "Sequence[EncodedRow]", label: str) -> Mapping[str, int]:
        """How many answers the training read, and how many were cut; empty if answers are never cut."""
        most = self.config.align.max_length
        if most is None:
            return {}
        answers, truncated = sum(len(row.completions) for row in encoded), sum(row.truncated for row in encoded)
        self.cache.progress.say(f"{label}: {truncated} of {answers} answers were cut, align.max_length is {most}")
        return {"answers": answers, "truncated": truncated}

    def _tell_notes(self, opened: object) -> None:
        for note in endpoints.notes(opened):
            self.cache.progress.say(note)

    def _batch_plan(self, model: Any, lengths: Sequence[int]) -> list[list[int]]:
        return endpoints.single_rows(model, lengths) or generation.plan(lengths, self.config.generate.batch_size)

    def _checkpoint(self, stage_dir: StageDir, base: str) -> Checkpoint:
        """The adapter of a finished stage. StageError if it is not what was written."""
        from bedside.training import train

        stage_dir.check()
        return replace(
            train.checkpoint(stage_dir.adapter, base), path=stage_dir.adapter.relative_to(self.cache.root).as_posix()
        )

    def _batches(
        self,
        encoded: "Sequence[EncodedRow]",
        step: TrainingStep,
        objective: Objective,
        reference: Checkpoint,
        label: str,
    ) -> "list[Batch]":
        from bedside.training import train

        align = self.config.align
        planned = train.plan(
            encoded,
            batch_size=align.batch_size,
            epochs=step.num_train_epochs or align.num_train_epochs,
            seed=self.opener.launch.seed,
            mismatch=objective.needs_mismatch,
        )
        if not objective.needs_reference:
            return train.batches(encoded, planned, None)
        texts = train.exchanges(encoded, planned)
        return train.batches(encoded, planned, self.logprobs(texts, reference, f"{label}, reference").all())

    def _trainer_settings(self, step: TrainingStep, label: str) -> "TrainerSettings":
        from bedside.training.train import TrainerSettings

        launch, align = self.opener.launch, self.config.align
        return TrainerSettings(
            learning_rate=step.learning_rate,
            lr_scheduler_type=align.lr_scheduler_type,
            warmup_ratio=align.warmup_ratio,
            weight_decay=align.weight_decay,
            max_grad_norm=align.max_grad_norm,
            save_steps=align.save_steps,
            max_tokens_per_microbatch=align.max_tokens_per_microbatch,
            gradient_checkpointing=align.gradient_checkpointing,
            seed=launch.seed,
            device=launch.device,
            report_to=self.config.report_to,
            run_name=f"{self.config.run}/{label}",
            curves=self.cache.root / "tensorboard" / label,
            ranks=self.cache.ranks,
        )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _training_spec(step: TrainingStep, align: AlignConfig, seed: int) -> Any:
    """The keys that the weights depend on. How often weights are saved is not among them. A null key counts as absent.

    Keys of ``LATER_KEYS`` count only if they are not at their default, so that results of earlier versions keep their
    names.
    """
    settings = align.model_dump(
        include={
            *("lora", "batch_size", "max_tokens_per_microbatch"),
            *("lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm"),
        }
    )
    settings["num_train_epochs"] = step.num_train_epochs or align.num_train_epochs
    settings |= align.model_dump(include=LATER_KEYS, exclude_defaults=True)
    return [step.objective.model_dump(exclude_none=True), step.objective.version, step.learning_rate, settings, seed]


def _lora(align: AlignConfig) -> Mapping[str, Any]:
    """Field names of ``peft.LoraConfig``."""
    lora = align.lora
    return {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
    }
