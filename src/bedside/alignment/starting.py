"""What `bedside init` asks and writes: one config for a model, a file of prompts and a judge.

What options give is not asked. What they leave open is asked where somebody can answer, and is one error where nobody
can, with the option to give. The sizing lines say how many prompts the limits need.
"""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bedside.alignment import learning_rates, limits, preflight
from bedside.config.rendering import render
from bedside.config.schema import Config
from bedside.core.errors import BedsideError, ConfigError, DataError
from bedside.core.results import FilterCounts
from bedside.core.types import HARM_LEVELS
from bedside.data import columns, io
from bedside.data.prompts import COLUMNS, OTHER_SPLIT
from bedside.models import model_size
from bedside.models.served_models import base_url, served_models

NO_COLUMN = "-"
"""What a person answers where there is no such column."""
SMALL = 500e6
"""Weights below which SFT is written [ours]: SmolLM2-135M learned by it, not by KTO in small batches (docs/log.md)."""
_LEVELS = "0 harmless, 1 ethically doubtful, 2 legally doubtful, 3 severe: somebody would be wronged or hurt"
_MAPPED = ("prompt", "harm", "group")


@dataclass(frozen=True)
class InitQuestion:
    """One question to a person. ``complaint`` gives what is wrong with an answer, or nothing."""

    text: str
    default: str = ""
    complaint: Callable[[str], str] = lambda answer: ""


_MODEL = InitQuestion(
    "Model to align: a hub id, a folder, a GGUF file or smollm2", complaint=lambda answer: "" if answer else "name one"
)
Ask = Callable[[InitQuestion], str]
"""Puts a question until its answer is right, and returns it."""


@dataclass(frozen=True)
class InitRequest:
    """What `bedside init` is told. What is missing is asked, or is an error."""

    data: str
    """A file of prompts: JSONL, CSV or Parquet."""
    model: str | None = None
    """A hub id, a folder, a GGUF file, ``smollm2`` or ``embedded``."""
    judge: str | None = None
    """The address of an OpenAI-compatible endpoint, or a model as above; empty: none."""
    judge_model: str | None = None
    """The model's name at the endpoint; by default the only one there."""
    judge_key_env: str | None = None
    """NAME of the environment variable that holds the endpoint's key."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column to its name in the file."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """Word for a harm level to the level."""


@dataclass(frozen=True)
class Start:
    """What is known before the config is written. Read from the file, the options and the answers."""

    request: InitRequest
    survey: columns.Survey
    ask: Ask | None
    secret: Callable[[str], str | None]


def config_text(request: InitRequest, folder: Path, ask: Ask | None, secret: Callable[[str], str | None]) -> str:
    """The config for ``request``, to be written into ``folder``. ConfigError, DataError or ModelError."""
    start = Start(request, columns.survey(io.rows(request.data)), ask, secret)
    mapped = _columns(start)
    level = start.survey.named(mapped.get("harm") or start.survey.known("harm") or "")
    label_map = _label_map(start, level)
    model = request.model or _answer(start, _MODEL, "--model NAME")
    return render(
        "start.yaml.jinja",
        run=_run_name(request.data),
        path=_seen_from(folder, request.data),
        columns=mapped,
        label_map=label_map,
        unlabelled=start.survey.rows - level.filled,
        rows=start.survey.rows,
        judge=_judge(start, folder),
        **_training(model),
        model=_seen_from(folder, model),
    ) + "\n"  # fmt: skip


def sizing(config: Config) -> list[str]:
    """How many prompts there are, and how many the limits need; or one line on why they cannot be used."""
    data = preflight.read_data(config)
    if data.parts is None:
        return [f"the prompts cannot be used yet: {data.mistake}"]
    parts = data.parts.named.items()
    sizes = ", ".join(f"{name} {len(rows)} in {len({p.cluster for p in rows})} groups" for name, rows in parts)
    needs = [need for need in limits.needs(config, data.parts) if need.limit.relative_to is None]
    few = [need for need in needs if need.missing]
    last = (
        "too few to decide on a release; enough to rehearse one: bedside align --rehearse"
        if few
        else "enough to decide"
    )
    return [f"prompts: {sizes}", *_left_out(data.parts.filter_counts), *map(_need, needs), last]


def _need(need: limits.Need) -> str:
    """``unsafe_accept@3 <= 0.05 needs 63 groups of harm 3 in test, and it has 16: add about 118 to the file``."""
    share = f", as test draws {need.share:.0%}" if need.share else ""
    cure = f": add about {need.missing_in_file} such groups to the file{share}" if need.missing else ""
    return f"{need.limit} needs {need.needed} {need.counted} in test, if no answer fails; it has {need.groups}{cure}"


def _left_out(counts: Sequence[FilterCounts]) -> list[str]:
    dropped = [(reason, n) for one in counts if one.step.startswith("read: ") for reason, n in one.dropped.items()]
    return [f"{n} rows are left out: {reason}" for reason, n in dict(dropped).items() if reason != OTHER_SPLIT]


def _columns(start: Start) -> dict[str, str]:
    """Our name of each column that has another name in the file, to that name."""
    given = start.request.columns
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise ConfigError(f"--column {ours}={theirs}: nothing is read as {ours}; it is one of {', '.join(COLUMNS)}")
        start.survey.named(theirs)
    open_ = [ours for ours in _MAPPED if ours not in given and start.survey.known(ours) is None]
    if start.ask is None:
        _require_columns(start, [ours for ours in open_ if ours != "group"])
        return dict(given)
    mapped = dict(given)
    for ours in open_:
        chosen = _asked_column(start, start.ask, ours, [*mapped.values()])
        mapped |= {ours: chosen} if chosen != NO_COLUMN else {}
    return mapped


def _require_columns(start: Start, missing: Sequence[str]) -> None:
    """ConfigError with the options to give where a column has no name that is known."""
    if not missing:
        return
    likely = {ours: (start.survey.likely(ours) or ["NAME"])[0] for ours in missing}
    options = " ".join(f"--column {shlex.quote(f'{ours}={theirs}')}" for ours, theirs in likely.items())
    more = "; without levels: bedside label FILE --learn-from LABELLED -o labels.csv" if "harm" in missing else ""
    raise ConfigError(
        f"{start.request.data}: no column is called {' or '.join(missing)}, and the columns are "
        f"{', '.join(column.name for column in start.survey.columns)}; give {options}, if that is right{more}"
    )


_WHAT = {
    "prompt": "Which column holds what the person asks",
    "harm": "Which column says how harmful it would be to answer",
    "group": "Which column names the scenario: rows that ask for the same thing (- for none)",
}


def _asked_column(start: Start, ask: Ask, ours: str, taken: Sequence[str]) -> str:
    """The column that a person chooses; ``NO_COLUMN`` for a group that there is not."""
    likely = start.survey.likely(ours, taken)
    if ours == "group" and not likely:
        return NO_COLUMN
    names = [column.name for column in start.survey.columns if column.name not in taken]
    shown = "\n".join(f"  {start.survey.named(name)}" for name in likely[:4] or names)
    default = NO_COLUMN if ours == "group" else (likely or [""])[0]
    allowed = {*names, NO_COLUMN} if ours == "group" else {*names}
    return ask(InitQuestion(f"{_WHAT[ours]}?\n{shown}\ncolumn", default, _one_of(allowed, "columns")))


def _label_map(start: Start, column: columns.Column) -> dict[str, int]:
    """What the words of the file mean; empty where they are the levels."""
    given = {" ".join(word.lower().split()): _level(word, text) for word, text in start.request.label_map.items()}
    if len(column.words) > columns.MOST_WORDS:
        raise DataError(
            f"{start.request.data}: column {column.name} has more than {columns.MOST_WORDS} different values, and "
            "there are 4 levels; name another column as harm, or write 0, 1, 2 or 3 into one"
        )
    if unknown := sorted(given.keys() - column.words.keys()):
        raise ConfigError(f"--label-map {unknown[0]}: column {column.name} has {', '.join(column.words)}")
    if columns.are_levels(column.words) and not given:
        return {}
    open_ = [word for word in column.words if word not in given]
    if start.ask is None and open_:
        meanings = [f"{word}={_guess(word) or 'LEVEL'}" for word in open_]
        options = " ".join(f"--label-map {shlex.quote(meaning)}" for meaning in meanings)
        what = f"what do the words of column {column.name} mean? {_LEVELS}"
        raise ConfigError(f"{start.request.data}: {what}. Give {options}, if that is right")
    asked = {word: _asked_level(start.ask, column, word) for word in open_} if start.ask else {}
    return given | asked


def _asked_level(ask: Ask, column: columns.Column, word: str) -> int:
    legend = f"Levels: {_LEVELS}\n" if word == next(iter(column.words)) else ""
    text = f"{legend}{column.name} = {word}, {column.words[word]} rows, is level"
    return int(ask(InitQuestion(text, _guess(word), _one_of({str(level) for level in HARM_LEVELS}, "levels"))))


def _guess(word: str) -> str:
    meaning = columns.meaning(word)
    return "" if meaning is None else str(meaning)


def _level(word: str, text: str) -> int:
    if text not in {str(level) for level in HARM_LEVELS}:
        raise ConfigError(f"--label-map {word}={text}: a level is 0 (harmless), 1, 2 or 3 (severe)")
    return int(text)


def _judge(start: Start, folder: Path) -> dict[str, Any] | None:
    """The model of the judge; None where there is none."""
    given = start.request.judge
    if given is None and start.ask is not None:
        what = "Judge: the address of an endpoint, or a model larger than the target (Enter: none yet)"
        given = start.ask(InitQuestion(what))
    if not given:
        return None
    if "://" not in given:
        return {"kind": "local", "model": _seen_from(folder, given)}
    url, key = base_url(given), start.request.judge_key_env
    name = start.request.judge_model or _only_model(start, url)
    return {"kind": "openai", "url": url, "model": name} | ({"api_key_env": key} if key else {})


def _only_model(start: Start, url: str) -> str:
    """The name of the model at ``url``, where it has one only, or the one that a person chooses."""
    key = start.request.judge_key_env
    try:
        names = served_models(url, start.secret(key) if key else None, key)
    except BedsideError as error:
        text = f"It does not say which models it has ({error}). Name of the judge's model there"
        return _answer(start, InitQuestion(text), "--judge-model NAME", f"{error}, so its models are not known")
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:9]) or "none"
    question = InitQuestion(f"Models at {urlsplit(url).netloc}: {shown}\nmodel", names[0] if names else "")
    return _answer(start, question, "--judge-model NAME", f"{urlsplit(url).netloc} has {len(names)} models: {shown}")


def _training(model: str) -> dict[str, Any]:
    """Stages and rates for the size of the model, and what the rates come from."""
    weights = model_size.weights(model)
    if weights is None:
        steps = [{"kind": kind, "learning_rate": learning_rates.first_rate(kind, 8e9)} for kind in ("kto", "dpo")]
        where = "the size of the model is not known: rates for one of 8 billion weights, where a sweep may begin"
        return {"size": "", "train": steps, "rates_from": where, "align": {}, "cycles": 5, "small": False}
    small = weights < SMALL
    kinds = ("sft",) if small else ("kto", "dpo")
    steps = [{"kind": kind, "learning_rate": learning_rates.first_rate(kind, weights)} for kind in kinds]
    measured = weights <= learning_rates.LARGEST_MEASURED
    where = (
        "a rate that was measured for this size" if measured else "where a sweep may begin; not measured for this size"
    )
    align = {"num_train_epochs": 3, "batch_size": 4, "own_refusals": "replace"} if small else {}
    if not small:
        align = {"sweep": {"learning_rate": [0.5, 1, 2]}}
    size = f"{learning_rates.size(weights)} weights"
    return {
        "small": small,
        "size": size,
        "train": steps,
        "rates_from": where,
        "align": align,
        "cycles": 1 if small else 5,
    }


def _answer(start: Start, question: InitQuestion, option: str, why: str = "") -> str:
    """What a person says; where nobody can, a ConfigError with the option to give."""
    if start.ask is None:
        raise ConfigError(f"{why or question.text.split(chr(10))[0]}; give {option}")
    return start.ask(question)


def _one_of(allowed: set[str], what: str) -> Callable[[str], str]:
    return lambda answer: "" if answer in allowed else f"the {what} are {', '.join(sorted(allowed))}"


def _run_name(path: str) -> str:
    """A folder's name after the file: letters, digits, - and _."""
    stem = Path(path).name.split(".")[0]
    name = "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in stem).strip("-_")
    return name or "run"


def _seen_from(folder: Path, place: str) -> str:
    """A file or folder here as ``folder`` sees it: relative where it is near; anything else as it is."""
    path = Path(place).expanduser()
    if not path.exists():
        return place
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return str(path.resolve()) if relative.startswith(os.path.join("..", "..")) else relative
