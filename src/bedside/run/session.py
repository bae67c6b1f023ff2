"""Everything one run works with, opened; and each stage as one call that is answered from the store.

    answers    asks -> responses           judged   responses -> responses beside verdicts
    logprobs   exchanges -> nats           trained  preferences -> checkpoint

Whatever decides a result is in the stage's spec: checkpoint, sampling, wording of steering and rubric, seed,
batch plan. Paths and labels are not.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bedside.config.plugins import Plugin, asks_for, named, open_plugin
from bedside.config.rendering import source
from bedside.config.schema import Align, Config, Step
from bedside.core.errors import ConfigError
from bedside.core.hashing import digest, plain
from bedside.core.protocols import Judge, Launch, Objective, Policy, Progress
from bedside.core.types import Ask, Checkpoint, Judged, Preference, Response, Sampling, Verdict
from bedside.judges import prompting
from bedside.models.budget import Purse, Spent
from bedside.run import endpoints, generation
from bedside.run.stage_cache import Place, Rows, Store
from bedside.training import adapters, train
from bedside.training.logprobs import Exchange
from bedside.training.trainer import Batch, Schedule


@dataclass(frozen=True, slots=True)
class Taught:
    """What one training was given, and how it went."""

    rows: int
    losses: tuple[float, ...]
    """One a step: the mean over the rows of its batch."""


@dataclass(frozen=True)
class Session:
    config: Config
    store: Store
    launch: Launch
    progress: Progress
    target: Policy
    outside: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Purse, keys and memory, for plug-ins that need them."""

    @property
    def first(self) -> bool:
        """This process writes what a person reads."""
        return self.store.first

    @property
    def sampling(self) -> Sampling:
        g = self.config.generate
        return Sampling(g.max_new_tokens, g.temperature, g.top_p, self.launch.seed)

    def open(self, plugin: Plugin, policy: Checkpoint | None = None) -> Any:
        """A plug-in opened beside this target, and beside the policy in training, where it asks for that."""
        given: dict[str, Any] = {**self.outside, "target": self.target}
        if asks_for(plugin, "policy"):
            given["policy"] = self.policy(policy or self.target.checkpoint)
        with named(self._place(plugin)):
            opened = open_plugin(plugin, self.launch, given)
        if self.store.ranks.world > 1 and endpoints.within(opened):
            raise ConfigError(
                f"{plugin.kind} calls an endpoint, and {self.store.ranks.world} processes would each count their own "
                "spending; start one: it has `concurrency` calls in flight"
            )
        return opened

    def _place(self, plugin: Plugin) -> str:
        """Where the config names ``plugin``, else its kind."""
        keys = (f"judges.{key}" for key, judge in self.config.judges.items() if judge is plugin)
        return next(keys, plugin.kind)

    def without_memory(self) -> "Session":
        """The same without earlier judgements: a trial shows what a judgement takes."""
        return replace(self, outside={key: value for key, value in self.outside.items() if key != "memory"})

    def spent(self) -> Mapping[str, Spent]:
        """So far in this run, by endpoint."""
        purse: Purse | None = self.outside.get("purse")
        return dict(purse.spent) if purse else {}

    def policy(self, checkpoint: Checkpoint) -> Policy:
        """The target under the adapter of ``checkpoint``. ConfigError for an adapter on an endpoint."""
        if checkpoint.id == self.target.checkpoint.id and checkpoint.path is None:
            return self.target
        self.require_training("wear an adapter")
        folder = None if checkpoint.path is None else self.store.root / checkpoint.path
        return self.target.with_adapter(folder, checkpoint)

    def require_training(self, what: str = "be trained") -> None:
        """ConfigError where the target is behind an endpoint, so that its weights are not here."""
        if not isinstance(self.target, Policy):
            raise ConfigError(
                f"target: {endpoints.named(self.target)} is an endpoint: it answers and is judged, it cannot {what} "
                "here; name a local folder or a hub id in target.model"
            )

    def answers(self, asks: Sequence[Ask], checkpoint: Checkpoint, label: str) -> Rows[Response]:
        policy = self.policy(checkpoint)
        lengths = policy.lengths([generation.conversation(ask) for ask in asks])
        generation.check_lengths(asks, lengths, self.sampling, policy.context)
        return self.store.map(
            "generate",
            [checkpoint.id, plain(self.sampling), digest(source("steer.jinja"))],
            asks,
            lambda batch: generation.generate(batch, policy, self.sampling),
            Response,
            endpoints.rowwise(policy, lengths) or generation.plan(lengths, self.config.generate.batch_size),
            label=f"{label}: answer",
            lanes=endpoints.lanes(policy),
        )

    def judged(self, responses: Rows[Response] | Sequence[Response], by: Judge, label: str) -> list[Judged]:
        lengths = [len(r.prompt.text) + len(r.text) for r in responses]
        verdicts = self.store.map(
            "judge",
            by.name,
            responses,
            lambda batch: prompting.judge(batch, by),
            Verdict,
            endpoints.rowwise(by, lengths) or generation.plan(lengths, self.config.generate.batch_size),
            label=f"{label}: judge",
            lanes=endpoints.lanes(by),
        )
        return prompting.join(responses, verdicts)

    def logprobs(self, texts: Sequence[Exchange], checkpoint: Checkpoint, label: str) -> Rows[train.Nats]:
        """log π(y|x) of token-id exchanges under ``checkpoint``, nats."""
        policy = self.policy(checkpoint)
        return self.store.map(
            "logprobs",
            checkpoint.id,
            texts,
            lambda batch: train.logprobs(batch, policy),
            train.Nats,
            train.token_plan(texts, self.config.align.max_tokens_per_microbatch),
            label=f"{label}: log-probabilities",
        )

    def kl(self, texts: Sequence[Exchange], checkpoint: Checkpoint, label: str) -> list[float]:
        """KL to the target as given of each exchange, nats per completion token."""
        policy = self.policy(checkpoint)
        rows = self.store.map(
            "kl",
            [checkpoint.id, self.target.checkpoint.id],
            texts,
            lambda batch: train.kl_to_target(batch, policy),
            train.Nats,
            train.token_plan(texts, self.config.align.max_tokens_per_microbatch),
            label=f"{label}: KL",
        )
        return [row.nats for row in rows]

    def trained(
        self, rows: Sequence[Preference], step: Step, start: Checkpoint, anchor: Checkpoint, label: str
    ) -> Checkpoint:
        """``start`` after one training ``step`` on ``rows``; ``anchor`` gives the reference."""
        self.require_training()
        objective: Objective = self.open(step.objective).fitted(rows)
        align = self.config.align
        place = self.store.place(
            "train", _training_spec(step, align, self.launch.seed), digest(rows), start.id, anchor.id
        )
        adapter = place.path / "adapter"
        if not self.store.agreed(place, lambda: place.finished):
            self.store.event("start", stage="train", what=label, rows=len(rows))
            batches = self._batches(rows, objective, start, anchor, label)
            if self.first:
                shutil.rmtree(adapter, ignore_errors=True)
            log = train.train(
                batches,
                self.policy(start),
                objective,
                _schedule(step, self, label),
                _lora(align),
                folder=place.path,
                progress=self.progress,
                stage=f"{label}: train",
            )
            if self.first:
                place.finish({"label": label, "rows": len(rows), "log": log})
                shutil.rmtree(place.path / "checkpoints", ignore_errors=True)
            self.store.ranks.gather(None)
            self.store.event("done", stage="train", what=label, rows=len(rows))
        return replace(
            self._saved(adapter, start.base),
            objective=step.objective.kind,
            learned_from=digest(rows),
            reference=anchor.id if objective.needs_reference else None,
        )

    def scaled(self, checkpoint: Checkpoint, factor: float) -> Checkpoint:
        """The target's weights, and ``factor`` of what ``checkpoint`` adds to them."""
        if factor == 1:
            return checkpoint
        assert checkpoint.path is not None
        place = self.store.place("scale", factor, checkpoint.id)
        adapter = place.path / "adapter"
        if not self.store.agreed(place, lambda: place.finished):
            if self.first:
                adapters.scaled(self.store.root / checkpoint.path, adapter, factor)
                place.finish({"factor": factor, "of": checkpoint.id})
            self.store.ranks.gather(None)
        made = self._saved(adapter, checkpoint.base)
        return replace(checkpoint, adapter=made.adapter, path=made.path)

    def _saved(self, adapter: Path, base: str) -> Checkpoint:
        return replace(train.checkpoint(adapter, base), path=adapter.relative_to(self.store.root).as_posix())

    def taught(self, checkpoint: Checkpoint) -> "Taught":
        """What the training that made ``checkpoint`` wrote down."""
        assert checkpoint.path is not None
        told = Place((self.store.root / checkpoint.path).parent).stamp()
        return Taught(told["rows"], tuple(step["loss"] for step in told["log"]))

    def _batches(
        self,
        rows: Sequence[Preference],
        objective: Objective,
        start: Checkpoint,
        anchor: Checkpoint,
        label: str,
    ) -> list[Batch]:
        align = self.config.align
        encoded = train.encode(rows, self.policy(start))
        planned = train.plan(
            encoded,
            batch_size=align.batch_size,
            epochs=align.epochs,
            seed=self.launch.seed,
            mismatch=objective.needs_mismatch,
        )
        if not objective.needs_reference:
            return train.batches(encoded, planned, None)
        texts = train.exchanges(encoded, planned)
        return train.batches(encoded, planned, self.logprobs(texts, anchor, f"{label}, reference").all())


def _training_spec(step: Step, align: Align, seed: int) -> Any:
    """What decides the weights, and nothing else: how often it is saved does not."""
    kept = align.model_dump(include={"lora", "epochs", "batch_size", "max_tokens_per_microbatch"})
    kept |= align.model_dump(include={"schedule", "warmup_ratio", "weight_decay", "max_grad_norm"})
    return [step.objective.model_dump(), step.objective.version, step.learning_rate, kept, seed]


def _schedule(step: Step, session: Session, label: str) -> Schedule:
    config, launch, align = session.config, session.launch, session.config.align
    return Schedule(
        learning_rate=step.learning_rate,
        lr_scheduler_type=align.schedule,
        warmup_ratio=align.warmup_ratio,
        weight_decay=align.weight_decay,
        max_grad_norm=align.max_grad_norm,
        save_steps=align.save_steps,
        max_tokens_per_microbatch=align.max_tokens_per_microbatch,
        seed=launch.seed,
        device=launch.device,
        report_to=config.report_to,
        run_name=f"{config.run}/{label}",
        curves=session.store.root / "tensorboard" / label,
        ranks=session.store.ranks,
    )


def _lora(align: Align) -> Mapping[str, Any]:
    """Field names of ``peft.LoraConfig``."""
    lora = align.lora
    return {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
    }
