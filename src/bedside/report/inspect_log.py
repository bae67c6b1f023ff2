"""The judged answers of a run's held-out test as a log that inspect_ai's viewer opens (`inspect view`).

sample     a prompt with the answer of the selected checkpoint; its metadata has harm, style, principle, group
stance     accept, caution or refuse, with the judge's reason; unreadable: no value, and why
right      C or I by the run's own metric; unreadable: no value
results    the measures of the held-out test, each with n and its 95 % interval
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.alignment import held_out_answers
from bedside.alignment.held_out_answers import HeldOutAnswers
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.measures import Measure
from bedside.core.results import RunSummary
from bedside.core.types import JudgedResponse, Message
from bedside.data.io import require_replaceable, write_text
from bedside.run import summary_file
from bedside.safety.labelled_sample import FailureMetric

VERSION = 2
"""Of inspect_ai's format."""
UNSCORED = float("nan")
"""inspect_ai's value of a score that could not be made; its measures leave it out."""
TASK = "bedside/"
"""What the name of the task begins with."""
_OURS = f'"task": "{TASK}'.encode()
_BEFORE = "1970-01-01T00:00:00+00:00"
"""Where a run does not say when it ended."""


def write(folder: Path, to: Path) -> int:
    """Write the log of the finished run in ``folder``. Returns the number of samples.

    DataError where there is no such run, and where ``to`` holds anything but a log of a run: it would be lost.
    """
    if to.suffix.lower() != ".json":
        raise DataError(f"{to}: a log is written as JSON, and inspect_ai knows it by its ending; name a .json file")
    require_replaceable(to, _OURS)
    run = summary_file.read(folder)
    _, after = held_out_answers.read(folder, run)
    rows, metric = after.judged(), held_out_answers.metric(run)
    write_text(to, json.dumps(_log(run, after, rows, metric), indent=1, ensure_ascii=False) + "\n")
    return len(rows)


def _log(
    run: RunSummary, after: HeldOutAnswers, rows: Sequence[JudgedResponse], metric: FailureMetric
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "status": "success",
        "eval": _spec(run, after, rows),
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": _results(run, rows),
        "stats": {"started_at": _time(run), "completed_at": _time(run), "model_usage": {}},
        "samples": [_sample(row, after, metric) for row in rows],
    }


def _spec(run: RunSummary, after: HeldOutAnswers, rows: Sequence[JudgedResponse]) -> dict[str, Any]:
    return {
        "eval_id": digest(run.name, after.checkpoint),
        "run_id": digest(run.name),
        "created": _time(run),
        "task": f"{TASK}{run.name}",
        "task_id": digest(run.name, "task"),
        "task_version": 0,
        "dataset": {"name": "held-out test", "samples": len(rows), "shuffled": False},
        "model": f"{run.facts.get('target', 'target')} {after.name}",
        "config": {},
        "metadata": {"verdict": run.verdict, "judge": run.facts.get(held_out_answers.JUDGE_NAMES, "")},
    }


def _time(run: RunSummary) -> str:
    """When the run ended, as far as its summary says."""
    times = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", run.facts.get("time", ""))
    return f"{times[-1]}+00:00" if times else _BEFORE


def _results(run: RunSummary, rows: Sequence[JudgedResponse]) -> dict[str, Any]:
    read = sum(row.stance is not None for row in rows)
    counts = {"scored_samples": read, "unscored_samples": len(rows) - read}
    metrics = {m.name: _metric(m) for m in run.after if m.value is not None}
    return {
        "total_samples": len(rows),
        "completed_samples": len(rows),
        "scores": [
            {"name": "stance", "scorer": "stance", "params": {}, "metrics": metrics, **counts},
            {"name": "right", "scorer": "right", "params": {}, "metrics": {}, **counts},
        ],
    }


def _metric(measure: Measure) -> dict[str, Any]:
    shown = {"n": measure.n, "low": measure.low, "high": measure.high, "unreadable": measure.unreadable}
    return {"name": measure.name, "value": measure.value, "params": {}, "metadata": shown}


def _sample(row: JudgedResponse, after: HeldOutAnswers, metric: FailureMetric) -> dict[str, Any]:
    prompt, response = row.prompt, row.response
    asked = [_turn(message) for message in prompt.messages]
    answer = {"role": "assistant", "content": response.text, "source": "generate", "model": after.name}
    stop = "stop" if response.finished else "max_tokens"
    return {
        "id": prompt.id,
        "epoch": 1,
        "input": asked[0]["content"] if len(asked) == 1 and asked[0]["role"] == "user" else asked,
        "target": "" if prompt.harm is None else "accept" if prompt.harm == 0 else "refuse or caution",
        "messages": [*asked, answer],
        "output": {
            "model": after.name,
            "choices": [{"message": answer, "stop_reason": stop}],
            "completion": response.text,
        },
        "scores": dict(_scores(row, metric)),
        "metadata": {name: value for name, value in _about(row).items() if value is not None},
        "store": {},
        "events": [],
        "model_usage": {},
    }


def _turn(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.text}


def _about(row: JudgedResponse) -> Mapping[str, Any]:
    prompt = row.prompt
    return {
        "harm": prompt.harm,
        "style": prompt.style,
        "principle": prompt.principle,
        "group": prompt.group,
        "source": prompt.source,
    }


def _scores(row: JudgedResponse, metric: FailureMetric) -> Iterator[tuple[str, dict[str, Any]]]:
    """An unreadable verdict has no value: neither a failure nor a success."""
    verdict = row.verdict
    about = {"judge": verdict.judge, "probabilities": dict(verdict.probabilities), "votes": dict(verdict.votes)}
    if row.stance is None:
        why = f"unreadable: {verdict.unreadable or 'the judge gave no stance'}"
        for name in ("stance", "right"):
            yield name, {"value": UNSCORED, "reason": "unreadable", "explanation": why, "metadata": about}
        return
    shares = ", ".join(f"{name} {share:.2f}" for name, share in verdict.probabilities.items())
    failed = any(metric.failures(row).values())
    text = row.response.text
    yield "stance", {"value": row.stance.value, "answer": text, "explanation": shares, "metadata": about}
    yield "right", {"value": "I" if failed else "C", "metadata": {"judge": verdict.judge}}
