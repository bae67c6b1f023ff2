"""People's labels of answers, from files, for decisions on these answers. Also the file that people fill in.

    write       writes labels.csv, with one row per drawn answer and empty columns, and labels.plan.json beside it
    of_run      the labels of a run's test answers: ``select.labels``, or the judge if its verdicts are labels
    by_key      the labels of given answers by a judge of kind labels

The file to fill in shows question and answer, not the judge's verdict: a rater who sees it agrees with it too often.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bedside.config.plugins import open_plugin
from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.protocols import Judge, Launch
from bedside.core.types import JudgedResponse, Response
from bedside.data import io
from bedside.data.responses import COMPLIANCE, answer_rows
from bedside.judges.human_labels import ANSWER_ID
from bedside.run.context import RunContext
from bedside.safety.labelled_sample import PLAN, AnswerLabels, LabelPlan

KIND = "labels"
"""The kind of a judge by experts' labels. Also the key of a reference from the options of the command line."""
LABEL = "label"
"""The column that people fill in."""


def of_run(run: RunContext, rows: Sequence[JudgedResponse]) -> AnswerLabels | None:
    """The labels of ``rows``; None if there are none, or if the file is not there yet."""
    key = run.config.select.labels
    if key is None:
        return of_verdicts(rows)
    path = getattr(run.config.judges[key], "path", None)
    if path is not None and not Path(path).is_file():
        run.progress.say(f"select.labels: there is no {path} yet; `bedside review --sample` writes it")
        return None
    return _labels(run.opener.open(run.config.judges[key]), [row.response for row in rows], path)


def of_verdicts(rows: Sequence[JudgedResponse]) -> AnswerLabels | None:
    """The verdicts of ``rows``, if every one is a label."""
    return AnswerLabels([row.verdict for row in rows]) if all(row.verdict.rater_kind for row in rows) else None


def by_key(config: Config, key: str, responses: Iterable[Response]) -> AnswerLabels:
    """Verdicts of the judge ``key`` of kind labels on ``responses``, which are read once.

    ConfigError for a judge of another kind, DataError if it labels none of them.
    """
    plugin = config.judges.get(key)
    if plugin is None or plugin.kind != KIND:
        raise ConfigError(f"--labels is {key!r}; name a judge of kind labels (judges has {', '.join(config.judges)})")
    labels = _labels(open_plugin(plugin, Launch(), {}), responses, plugin.path)
    if not any(verdict.stance for verdict in labels.verdicts):
        first = next((f", the first of them {verdict.response}" for verdict in labels.verdicts), "")
        raise DataError(
            f"{plugin.path}: {key} labels none of the {len(labels.verdicts)} answers{first}; only labels on them can "
            "correct their rates: label these, or name the answers that were labelled"
        )
    return labels


def _labels(judge: Judge, responses: Iterable[Response], path: str | None) -> AnswerLabels:
    verdicts = [verdict for response in responses for verdict in judge.judge([response])]
    return AnswerLabels(verdicts, None if path is None else read_plan(Path(path)))


def plan_file(labels: Path) -> Path:
    """``labels.plan.json`` of ``labels.csv``."""
    return labels.with_name(labels.name.partition(".")[0] + PLAN)


def read_plan(labels: Path) -> LabelPlan | None:
    """The plan of the draw, from beside the file of labels; None if there is none. DataError for another file."""
    file = plan_file(labels)
    if not file.is_file():
        return None
    try:
        return TypeAdapter(LabelPlan).validate_json(file.read_bytes())
    except ValidationError:
        raise DataError(f"{file}: is not a plan that `bedside review` wrote; draw again, or move it away") from None


def write(plan: LabelPlan, rows: Sequence[JudgedResponse], out: Path) -> None:
    """The answers of ``plan`` to fill in, as CSV or JSONL by the ending of ``out``, and the plan beside it.

    DataError if either file exists, because it may have somebody's work.
    """
    for file in (out, plan_file(out)):
        if file.exists():
            raise DataError(f"{file} already exists and may have somebody's work; name another with -o, or move it")
    by_id = {row.response.id: row.response for row in rows}
    answers = answer_rows([by_id[drawn] for drawn in plan.drawn])
    shown = [
        {
            "prompt": row["prompt"],
            "response": row["response"],
            LABEL: "",
            **dict.fromkeys(COMPLIANCE, ""),
            ANSWER_ID: drawn,
        }
        for row, drawn in zip(answers, plan.drawn, strict=True)
    ]
    io.write_json(plan_file(out), plan)
    io.write_rows(out, shown)
