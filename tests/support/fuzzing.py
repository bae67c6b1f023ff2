"""Hostile inputs from a seed, one after another, and the readers that they go through.

    for attempt in Fuzzer(seed=1, folder=tmp_path).attempts(4000):
        attempt()          # raises what the reader raises; ``fuzzer.file`` is what it read

A third are configs with overrides. The others are files of rows (JSONL, a JSON array, CSV, TSV, Parquet, gzip), whole
or damaged, each read as prompts, answers, verdicts, responses, labels, dialogues, training rows or an export of an
annotation tool. A reader may refuse with BedsideError or OSError; anything else is a bug.
"""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from bedside.config import loader
from bedside.config.rendering import source
from bedside.config.schema import Config
from bedside.core.protocols import Launch
from bedside.core.types import Response, Verdict
from bedside.data import annotations, trl_format
from bedside.data import io as tables
from bedside.data.dialogues import Dialogues
from bedside.data.labelling import confirm
from bedside.data.prompts import ReadOptions, TablePrompts
from bedside.data.responses import AnswerFile, check_replaceable, read_rows
from bedside.judges.human_labels import Labels

SCALARS = (
    *(
        "x",
        "",
        " ",
        "null",
        "~",
        "yes",
        "1",
        "-1",
        "0",
        "1.5",
        "1e400",
        "-.inf",
        ".nan",
        "0x_",
        "0b",
        "1:60",
        "9" * 400,
    ),
    *("9" * 5000, "2001-01-01", "2001-02-30", "2001-01-01T00:00:00Z", "<<", "=", "truth", "rubric", "../..", "a/b"),
    *('!!int ""', "!!int x", '!!float ""', "!!bool maybe", "!!binary aGk=", "!!binary é", "!!set {a}", "!!omap [a: 1]"),
    *("!!omap [a]", "!!pairs [a: 1]", "!!timestamp x", "!!timestamp 2001-01-01", "!!null x", "!!seq x", "!!map []"),
    *("!!python/object:os.system x", "!x y", "&a [*a]", "*zz", "{[1]: 2}", "{{a: 1}: 2}", "{? [a] : b}", "{<<: 1}"),
    *('"\\ud800"', '"\\0"', '"a\\u2028b"', '"\\x1b[31m"', "\U0001f600", "'", '"', "- a", "a: b: c", "| \n  x", "%TAG"),
    *("@x", "`x", "[]", "{}", "[1]", "{a: 1}", "[[[[]]]]", "[" * 300 + "]" * 300, "{a: " * 300, "{kind: rubric}"),
    *(
        "{kind: clinic}",
        "{kind: jsonl, path: /dev/null}",
        "{kind: zz}",
        "{kind: [1]}",
        "{kind: {a: 1}}",
        "[{kind: sft}]",
    ),
)
"""What a key of a config may be given."""
STRANGE = tuple(chr(code) for code in (0, 7, 9, 13, 27, 34, 39, 58, 91, 123, 0x85, 0x2028, 0x202E, 0xFEFF, 0x1F600))
TURNS = (
    [{"role": "user", "content": "hi"}],
    [{"role": "assistant", "content": "hi"}],
    [{"role": "x", "content": "hi"}],
    [{"role": "user", "content": None}],
    [{"role": ["user"], "content": "hi"}],
    [{"role": "user", "content": [{"type": ["text"], "text": "hi"}]}],
    [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": "a"}],
    [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    [{"role": "user", "content": "q"}, {"role": "tool", "content": "a"}],
    "[{'role': 'user', 'content': 'q'}]",
    "[{'role': " + "(" * 400,
    "\n\nHuman: q\n\nAssistant: a",
)
NUMBERS = (0, 1, 2, 3, 4, -1, 1.0, 1.5, float("nan"), float("inf"), 10**400, 2**63)
TEXTS = ("", " ", "a", "\ud800", "\x00", "\u2028", "é" * 50, "x" * 5000, "\u200b", "=1+1", "<script>", "9" * 5000)
LABELS = ("accept", "refuse", "caution", "nonsense", '{"choices": ["accept"]}', '{"choices": 1}', '{"choices": [1, 2]}')
VALUES = (None, True, [], {}, [1], [[]], {"a": 1}, {"choices": ["accept"]}, *TURNS, *NUMBERS, *TEXTS, *LABELS)
VALUES += ("A HUGE NUMBER", "A DEEP LIST")
RAW = {'"A HUGE NUMBER"': "9" * 5000, '"A DEEP LIST"': "[" * 3000 + "]" * 3000}
"""What ``json.dumps`` does not write and a file may hold."""
KEYS = (
    *("prompt", "messages", "question", "conversations", "instruction", "input", "output", "harm", "harmful_level"),
    *("group", "style", "source", "reference", "principle", "split", "base_prompt", "response", "text", "answer"),
    *("verdict", "stance", "label", "judge", "checkpoint", "chosen", "rejected", "completion", "id", "harm_proposed"),
    *("probabilities", "scores", "votes", "unreadable", "ids", "finished", "sampling", "rater", "label.users", ""),
    *("data", "annotations"),
)
ANNOTATIONS = (
    [{"completed_by": 1, "result": [{"from_name": "label", "value": {"choices": ["accept"]}}]}],
    [{"result": [{"value": {"choices": ["accept"]}}]}],
    [{"result": [{"value": None}]}],
    [{"result": [1]}],
    [{"result": None}],
    [{"result": 1}],
    [1],
    [None],
)
COLUMNS: tuple[Callable[[], pyarrow.Array], ...] = (
    lambda: pyarrow.array(["a", "b", None]),
    lambda: pyarrow.array([0, 1, 9]),
    lambda: pyarrow.array([0.0, float("nan"), 2.0]),
    lambda: pyarrow.array([b"\xff", b"a", None]),
    lambda: pyarrow.array([["a"], [], None]),
    lambda: pyarrow.array([{"role": "user", "content": "x"}] * 3),
    lambda: pyarrow.array([1, 2, 3], pyarrow.timestamp("ns")),
    lambda: pyarrow.array([1, 2, 2**40], pyarrow.timestamp("s")),
    lambda: pyarrow.array([1, 2, 3], pyarrow.timestamp("us", "Mars/Olympus")),
    lambda: pyarrow.array([1, 2, 3], pyarrow.duration("s")),
    lambda: pyarrow.array([1, 2, 2**62], pyarrow.duration("ms")),
    lambda: pyarrow.array([1, 2, 3], pyarrow.date32()),
    lambda: pyarrow.array([1, 2, 2**31 - 1], pyarrow.date32()),
    lambda: pyarrow.array([1, 2, 3]).cast(pyarrow.decimal128(30, 2)),
    lambda: pyarrow.array([[{"role": "user", "content": "x"}]] * 3),
    lambda: pyarrow.array([[("a", 1)]] * 3, pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    lambda: pyarrow.array(["a", "b", "a"]).dictionary_encode(),
    lambda: pyarrow.nulls(3),
)


class Fuzzer:
    """Inputs and attempts to read them: the same seed gives the same ones."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.file = folder
        """What the last attempt read."""

    def attempts(self, n: int) -> Iterator[Callable[[], object]]:
        """``n`` attempts. Each writes its file when it is drawn and reads it when it is called."""
        for _ in range(n):
            yield self._config() if self.rng.random() < 0.35 else self._rows()

    # Configs

    def _config(self) -> Callable[[], object]:
        data = self._config_text().encode("utf-8", "surrogatepass")
        self._write("c.yaml", self._one_byte_off(data) if self.rng.random() < 0.1 else data)
        sets = self._sets()
        return lambda: loader.dump(loader.load(Config, self.file, sets))

    def _config_text(self) -> str:
        lines = source(self.rng.choice(["bedside.yaml", "demo.yaml", "comfort.yaml"])).split("\n")
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 4))):
            self._damage(lines)
        return "\n".join(lines)

    def _damage(self, lines: list[str]) -> None:
        rng, at = self.rng, self.rng.randrange(len(lines))
        line, kind = lines[at], self.rng.random()
        if kind < 0.5 and ":" in line:
            lines[at] = f"{line.split(':')[0]}: {rng.choice(SCALARS)}"
        elif kind < 0.6:
            lines.insert(at, rng.choice(lines))
        elif kind < 0.7:
            lines[at] = " " * rng.randint(0, 5) + line
        elif kind < 0.8:
            lines[at] = line[: rng.randint(0, len(line))]
        elif kind < 0.9:
            key = rng.choice(("x", "judges", "1", "null", '"\\0"', "<<", "? a"))
            lines.insert(at, f"{rng.choice(('  ', '', '    '))}{key}: {rng.choice(SCALARS)}")
        else:
            lines[at] = "".join(rng.choice(STRANGE) if rng.random() < 0.1 else character for character in line)

    def _sets(self) -> list[str]:
        key = self.rng.choice(
            ("run", "align.train.0.beta", "judges.x", "seed", "data.train", "a..b", "", "select.require")
        )
        return self.rng.choice(([], ["seed=1"], [f"{key}={self.rng.choice(SCALARS)}"], [self.rng.choice(SCALARS)]))

    # Files of rows

    def _rows(self) -> Callable[[], object]:
        write = {"jsonl": self._jsonl, "json": self._json_array, "csv": self._csv, "parquet": self._parquet}
        ending, kind = self.rng.choice(
            (("jsonl", "jsonl"), ("json", "json"), ("csv", "csv"), ("tsv", "csv"), ("parquet",) * 2)
        )
        reader, good = self.rng.choice(READERS)
        data = write[kind](good)
        data = self._mangled(data) if self.rng.random() < 0.3 else data
        if kind != "parquet" and self.rng.random() < 0.1:
            packed = gzip.compress(data, 1)
            data, ending = self._mangled(packed) if self.rng.random() < 0.5 else packed, f"{ending}.gz"
        self._write(f"d.{ending}", data)
        return reader(self.file, self.rng)

    def _table(self, good: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._row(good) for _ in range(self.rng.choice((0, 1, 1, 2, 5)))]

    def _row(self, good: dict[str, Any]) -> dict[str, Any]:
        """A good row, in which up to four columns have a value that nobody expects."""
        rng, row = self.rng, dict(good)
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
            row[rng.choice((*good, *good, *KEYS))] = rng.choice(VALUES)
        if "annotations" in row and rng.random() < 0.7:
            row["annotations"] = rng.choice(ANNOTATIONS)
        return row

    def _jsonl(self, good: dict[str, Any]) -> bytes:
        escaped = self.rng.random() < 0.8
        return _encoded("\n".join(json.dumps(row, ensure_ascii=escaped) for row in self._table(good)))

    def _json_array(self, good: dict[str, Any]) -> bytes:
        return _encoded(json.dumps(self._table(good), indent=self.rng.choice((None, 1))))

    def _csv(self, good: dict[str, Any]) -> bytes:
        rng, out = self.rng, io.StringIO()
        writer = csv.writer(out, delimiter=rng.choice(",;\t"), quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
        names = [*good, *rng.choices(KEYS, k=rng.choice((0, 0, 0, 1, 3)))]
        writer.writerow([" "] if rng.random() < 0.05 else names)
        for row in self._table(good):
            cells = [_cell(row.get(name, "x")) for name in names]
            writer.writerow(cells if rng.random() < 0.9 else cells[: rng.randint(1, len(cells))])
        return _encoded(out.getvalue())

    def _parquet(self, good: dict[str, Any]) -> bytes:
        if self.rng.random() < 0.4:
            table = pyarrow.Table.from_pylist([good] * self.rng.randint(1, 3))
        else:
            names = (*good, *self.rng.choices(KEYS, k=self.rng.randint(0, 2)))
            table = pyarrow.table({name: self.rng.choice(COLUMNS)() for name in dict.fromkeys(names)})
        out = io.BytesIO()
        parquet.write_table(table, out)
        return out.getvalue()

    # Bytes

    def _mangled(self, data: bytes) -> bytes:
        kind = self.rng.random()
        if kind < 0.5 and data:
            return self._one_byte_off(self._one_byte_off(data))
        if kind < 0.7:
            return data[: self.rng.randint(0, len(data))]
        if kind < 0.8:
            return b"\xef\xbb\xbf" + data
        return data.decode("utf-8", "ignore").encode("utf-16") if kind < 0.9 else data.replace(b"\n", b"\r")

    def _one_byte_off(self, data: bytes) -> bytes:
        at = self.rng.randrange(len(data))
        return data[:at] + bytes([self.rng.randrange(256)]) + data[at + 1 :]

    def _write(self, name: str, data: bytes) -> None:
        self.file = self.folder / name
        self.file.write_bytes(data)


def _encoded(text: str) -> bytes:
    for name, value in RAW.items():
        text = text.replace(name, value)
    return text.encode("utf-8", "surrogatepass")


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


Reader = Callable[[Path, random.Random], Callable[[], object]]


def _prompts(file: Path, rng: random.Random) -> Callable[[], object]:
    options = ReadOptions(
        split=rng.choice((None, None, "train")),
        unlabelled=rng.choice(("error", "skip", "keep", "proposed")),
        columns=rng.choice(({}, {"prompt": "question"}, {"harm": "harm_proposed"})),
    )
    return TablePrompts(file.name, lambda: tables.rows(file), options).read


def _answers(file: Path, rng: random.Random) -> Callable[[], object]:
    columns = rng.choice(({}, {"prompt": "question"}, {"response": "text"}))
    return AnswerFile(str(file), columns, rng.choice(((), ("label",), ("label", "verdict")))).read


def _labels(file: Path, rng: random.Random) -> Callable[[], object]:
    plugin = Labels(path=str(file), label=rng.choice(("label", ["label", "verdict"])), label_map={"nonsense": "refuse"})
    return lambda: plugin.open(Launch()).name


def _dialogues(file: Path, rng: random.Random) -> Callable[[], object]:
    return Dialogues(path=str(file), phi=rng.choice(("scan", "scrub", "off"))).open(Launch()).read


def _training_rows(file: Path, rng: random.Random) -> Callable[[], object]:
    reads = rng.choice(("unpaired", "pairs", "demonstrations"))
    return lambda: trl_format.read(tables.rows(file), reads)


_ASKED = {"prompt": "May I take tea?", "harm": 0}
_TALK = [{"role": "user", "content": "May I take tea?"}, {"role": "assistant", "content": "Yes."}]
_RESPONSE = {
    "prompt": {"messages": [{"role": "user", "text": "q"}], "harm": 1},
    "text": "a",
    "checkpoint": "b2-0",
    "sampling": {"max_new_tokens": 8},
}
_VERDICT = {
    "response": "b2-0",
    "judge": "words",
    "stance": "accept",
    "probabilities": {"accept": 1.0},
    "votes": {"a": ""},
}
READERS: tuple[tuple[Reader, dict[str, Any]], ...] = (
    (_prompts, _ASKED | {"group": "g", "style": "direct", "split": "train"}),
    (_prompts, {"messages": _TALK, "harm": 3, "reference": "a", "split": "train"}),
    (_answers, _ASKED | {"response": "Yes."}),
    (_answers, {"messages": _TALK, "harm": 1}),
    (_answers, _RESPONSE),
    (_labels, _ASKED | {"response": "Yes.", "label": "accept", "rater": "anna"}),
    (_labels, _ASKED | {"response": "Yes.", "label": ["accept", "refuse"], "label.users": ["anna", "ben"]}),
    (_labels, {"data": _ASKED | {"response": "Yes."}, "annotations": ANNOTATIONS[0]}),
    (_labels, _VERDICT),
    (_dialogues, {"question": "May I take tea?", "answer": "You may take it.", "group": "g"}),
    (_dialogues, {"instruction": "Answer.", "input": "May I?", "output": "You may take it."}),
    (_training_rows, _ASKED | {"completion": "Yes.", "label": True, "chosen": "Yes.", "rejected": "No."}),
    (_training_rows, {"chosen": _TALK, "rejected": [_TALK[0], {"role": "assistant", "content": "No."}]}),
    (_training_rows, {"messages": _TALK}),
    (lambda file, rng: lambda: read_rows(file, Response), _RESPONSE),
    (lambda file, rng: lambda: read_rows(file, Verdict), _VERDICT),
    (lambda file, rng: lambda: check_replaceable(file, Verdict), _VERDICT),
    (
        lambda file, rng: lambda: list(annotations.rows(file, ("label",))),
        {"data": _ASKED, "annotations": ANNOTATIONS[0]},
    ),
    (
        lambda file, rng: lambda: confirm(file, "Dr. A", lambda row, left: ""),
        _ASKED | {"harm": None, "harm_proposed": 2},
    ),
)
"""Who reads a file, and a row that it can read."""
