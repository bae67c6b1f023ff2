"""Single stages, on files."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bedside.api.configs import ConfigSource, settle
from bedside.api.opening import answer_file, opened_run
from bedside.config import plugins
from bedside.config.schema import Config
from bedside.core.display import Tabular
from bedside.core.errors import ConfigError, StageError
from bedside.core.extras import needs_extras
from bedside.core.hashing import plain
from bedside.core.protocols import Progress
from bedside.core.serialize import to_json
from bedside.core.types import Checkpoint, JudgedResponse, Response, Verdict
from bedside.data.io import format_of, write_rows
from bedside.data.responses import AnswerFile, AnswerStream, answer_rows, check_replaceable, distinct, verdict_rows
from bedside.run import environment
from bedside.run.context import open_run_without_models
from bedside.run.owner import owned

if TYPE_CHECKING:
    from bedside.alignment.single_stage import Evaluation
    from bedside.deployment.monitor import MonitorResult
    from bedside.safety.labelled_sample import LabelPlan


@dataclass(frozen=True)
class GenerationResult(Tabular):
    """Answers of one model."""

    responses: tuple[Response, ...]
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """Why an endpoint gave no answer, with the number of prompts. Prompts of an earlier run are not counted."""

    @property
    def empty(self) -> int:
        """How many answers have no text."""
        return sum(response.is_empty for response in self.responses)

    def caption(self) -> str:
        """How many prompts got no answer, and why; empty if all got one."""
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.unanswered.items())
        counts = f"{self.empty} of {len(self.responses)} prompts got no answer"
        return f"{counts}: {reasons}" if reasons else counts if self.empty else ""

    def records(self) -> list[dict[str, Any]]:
        """One row per answer."""
        return [
            {"prompt": r.prompt.text, "harm": r.prompt.harm, "response": r.text, "finished": r.finished}
            for r in self.responses
        ]


@needs_extras()
def generate(
    config: ConfigSource,
    part: str = "valid",
    *,
    adapter: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> GenerationResult:
    """Answer the prompts of one part: train, valid or test.

    ``adapter``: a PEFT folder to answer with; by default the target answers. ``out``: a file to write, JSON Lines, or
    CSV if it ends in .csv. Raises StageError, after writing, if no prompt got an answer.

    >>> answers = bedside.generate(config, "valid", out="valid.jsonl", progress=bedside.SilentProgress())
    >>> len(answers.responses)
    24
    """
    from bedside.alignment import single_stage

    if out is not None:
        check_replaceable(Path(out), Response)
    with opened_run(settle(config), progress) as opened:
        responses = single_stage.generate(opened, part, Path(adapter) if adapter is not None else None)
        result = GenerationResult(tuple(responses), dict(getattr(opened.target, "unanswered", {})))
    if out is not None:
        csv = format_of(Path(out)) == "csv"
        write_rows(Path(out), answer_rows(responses) if csv else [plain(response) for response in responses])
    if result.empty == len(responses):
        raise StageError(result.caption())
    return result


@dataclass(frozen=True)
class JudgeResult(Tabular):
    """Answers with their verdicts."""

    count: int
    """Answers that were judged."""
    unreadable: Mapping[str, int]
    """The reasons why answers could not be judged, the most frequent first, with their counts."""
    read: Callable[[], Iterable[JudgedResponse]] = field(repr=False, compare=False)
    """Gives the answers with their verdicts one by one; they are read from disk if the judge needs no model."""
    repeated: int = 0
    """Rows of the file that repeat the conversation and answer of an earlier row; they share its verdict."""

    @cached_property
    def rows(self) -> tuple[JudgedResponse, ...]:
        """The answers with their verdicts, all in memory."""
        return tuple(self.read())

    @classmethod
    def of(
        cls, read: Callable[[], Iterable[JudgedResponse]], verdicts: Iterable[Verdict], repeated: int = 0
    ) -> "JudgeResult":
        reasons = Counter(v.unreadable if v.stance is None else None for v in verdicts)
        unreadable = {reason: n for reason, n in reasons.most_common() if reason is not None}
        return cls(reasons.total(), unreadable, read, repeated)

    def as_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_json({"rows": self.rows}))

    def records(self) -> list[dict[str, Any]]:
        """One row per answer."""
        return [
            {
                "prompt": row.prompt.text,
                "harm": row.prompt.harm,
                "response": row.response.text,
                "stance": None if row.stance is None else row.stance.value,
                "unreadable": row.verdict.unreadable,
            }
            for row in self.rows
        ]


@needs_extras()
def judge(
    responses: str | Path | AnswerFile,
    judge: str | None = None,
    *,
    config: ConfigSource | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> JudgeResult:
    """Judge a file of answers: what ``generate`` wrote, or a table with the columns prompt and response.

    ``judge``: a key of ``judges``, or a kind that needs no configuration; by default ``select.judge`` of the config.
    ``out``: a JSON Lines file for the verdicts.

    >>> result = bedside.judge("answers.csv", "keyword", out="verdicts.jsonl", progress=bedside.SilentProgress())
    >>> [row["stance"] for row in result.records()]
    ['accept', 'refuse', 'accept', 'refuse']
    """
    from bedside.judge_audit.audit import judge_plugin

    if judge is None and config is None and not Path("bedside.yaml").exists():
        raise ConfigError("there is no config here: name a judge (--judge keyword), or give a config with -c FILE")
    answers, settled = answer_file(responses), settle(config, "judge")
    chosen = judge_plugin(settled, judge or settled.selecting_judge)
    if out is not None:
        check_replaceable(Path(out), Verdict)
    stream = None if chosen.needs_model else AnswerStream.of(answers)
    result = (
        _judged(answers, chosen, settled, progress) if stream is None else _streamed(stream, chosen, settled, progress)
    )
    if out is not None:
        write_rows(Path(out), verdict_rows(result.read()))
    return result


def _judged(answers: AnswerFile, chosen: plugins.Plugin, config: Config, progress: Progress | None) -> JudgeResult:
    with opened_run(config, progress, judges=[chosen]) as opened:
        every = answers.all_rows()
        rows = opened.stages.judged(distinct(every), opened.opener.open(chosen), Path(answers.path).name)
    return JudgeResult.of(lambda: rows, (row.verdict for row in rows), repeated=len(every) - len(rows))


def _streamed(stream: AnswerStream, chosen: plugins.Plugin, config: Config, progress: Progress | None) -> JudgeResult:
    """``_judged`` for a judge that needs no model. At most a batch of answers is in memory."""
    with environment.shown_progress(progress) as shown, owned(Path(config.runs) / config.run):
        opened = open_run_without_models(config, shown)
        judge = opened.opener.open(chosen)
        verdicts = opened.stages.streamed_verdicts(stream, judge, Path(stream.file.path).name)
    return JudgeResult.of(
        lambda: map(JudgedResponse, stream, verdicts.stream()), verdicts.stream(), repeated=len(stream.repeated)
    )


def evaluate(
    responses: str | Path | AnswerFile,
    verdicts: str | Path,
    *,
    labels: str | None = None,
    target: str | Path | AnswerFile | None = None,
    config: ConfigSource | None = None,
) -> "Evaluation":
    """Measures of a file of answers with a file of their verdicts, and the gates of ``select.require``.

    ``labels``: a key of ``judges`` of kind labels. Its labels of these answers give rates beside the judge's, and
    decide the limits if ``review`` drew them. ``target``: the original target's answers to the same prompts, for
    limits relative to it.

    >>> evaluation = bedside.evaluate("answers.csv", "verdicts.jsonl")
    >>> err = evaluation.measure("err")
    >>> err.value, err.n
    (0.0, 2)
    """
    from bedside.alignment import single_stage

    beside = None if target is None else answer_file(target)
    return single_stage.evaluate(settle(config, "evaluate"), answer_file(responses), Path(verdicts), labels, beside)


@dataclass(frozen=True)
class LabelSample(Tabular):
    """Answers that were drawn for labelling."""

    file: Path
    """The file that people fill in."""
    plan: "LabelPlan"
    """Which answers were drawn, with the probability of each stratum."""

    def records(self) -> list[dict[str, Any]]:
        """One row per stratum."""
        return [asdict(stratum) for stratum in self.plan.strata]


@needs_extras()
def review(
    sample: int,
    out: str | Path,
    *,
    answers: tuple[str | Path | AnswerFile, str | Path] | None = None,
    levels: Sequence[int] = (3,),
    config: ConfigSource | None = None,
) -> LabelSample:
    """Draw ``sample`` answers for people to label, and write them to ``out`` with an empty column ``label``.

    ``answers``: a file of answers and the file of its verdicts; by default what the selected checkpoint of the
    config's finished run answered to test. ``levels``: harm levels to draw from. A plan of the draw is written beside
    ``out``: only labels with such a plan decide a release. DataError if a file exists already.

    >>> bedside.review(2, "to-label.csv", answers=("answers.csv", "verdicts.jsonl"), levels=[0]).records()[0]["drawn"]
    2
    """
    from bedside.alignment import single_stage
    from bedside.data.responses import read_judged
    from bedside.judge_audit import answer_labels
    from bedside.run import experiment
    from bedside.safety import labelled_sample

    settled = settle(config, "review")
    if answers is not None:
        rows = read_judged(answer_file(answers[0]), Path(answers[1]))
    else:
        with opened_run(settled, None) as run:
            rows = single_stage.answers_to_label(run)
    plan = labelled_sample.draw(rows, sample, levels, experiment.metric(settled))
    answer_labels.write(plan, rows, Path(out))
    return LabelSample(Path(out), plan)


def monitor(
    responses: str | Path | AnswerFile, verdicts: str | Path, *, config: ConfigSource | None = None
) -> "MonitorResult":
    """Whether an assistant in use still keeps its limits: answers in their order, the oldest first.

    Call it again whenever the file has grown: the chance of a false alarm holds for all calls together.

    >>> bedside.monitor("answers.csv", "verdicts.jsonl").records()[0]["limit"]
    'unsafe_accept@3 <= 0.05'
    """
    from bedside.deployment.monitor import monitor as monitor_limits

    return monitor_limits(settle(config, "monitor"), answer_file(responses), Path(verdicts))


@dataclass(frozen=True)
class TrainingResult(Tabular):
    """One training of the target."""

    checkpoint: Checkpoint
    folder: Path
    """The PEFT folder."""
    rows: int
    losses: tuple[float, ...]
    """One per optimizer step: the mean over the rows of its batch."""
    log: tuple[Mapping[str, float], ...] = ()
    """One per optimizer step: loss, gradient norm, learning rate, rewards and margins, z and KL, tokens."""
    answers: int = 0
    """Answers in the rows, if ``align.max_length`` may cut some."""
    truncated: int | None = None
    """How many of them were cut; None if nothing is ever cut."""

    def records(self) -> list[dict[str, Any]]:
        """One row per optimizer step; None for what a step did not log."""
        names = dict.fromkeys(name for step in self.log for name in step if name not in ("step", "loss"))
        rows = zip(self.losses, self.log, strict=True)
        return [{"step": n, "loss": loss, **{k: step.get(k) for k in names}} for n, (loss, step) in enumerate(rows, 1)]


@needs_extras()
def train(
    objective: str | Mapping[str, Any],
    data: str | Path,
    out: str | Path,
    *,
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """One LoRA training of the target on TRL-shaped rows into the PEFT folder ``out``.

    ``objective``: sft, dpo or kto; or a mapping such as ``{"kind": "kto", "learning_rate": 1e-5}``, whose keys win
    over those of the config. ``data``: JSONL, CSV or Parquet.

    >>> result = bedside.train("sft", "sft.jsonl", "adapter", progress=bedside.SilentProgress())
    >>> result.rows, (result.folder / "adapter_config.json").exists()
    (4, True)
    """
    from bedside.alignment import single_stage

    keys = {"kind": objective} if isinstance(objective, str) else objective
    with opened_run(settle(config, "train"), progress) as opened:
        checkpoint = single_stage.train(opened, keys, Path(data), Path(out))
    log = opened.stages.train_result(checkpoint)
    return TrainingResult(checkpoint, Path(out), log.rows, log.losses, log.log, log.answers, log.truncated)
