"""Five thousand hostile files: whatever stands in them, a person gets a message and never a traceback."""

import io
import json
import random
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from tests.support.prompts import ask

import bedside
from bedside.alignment import single_stage
from bedside.config.rendering import path, source
from bedside.core.errors import BedsideError
from bedside.core.hashing import plain
from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint, Response, Stance, Verdict
from bedside.data import io as tables
from bedside.data import labelling, trl_format
from bedside.data.prompts import ReadOptions, TablePrompts
from bedside.data.responses import AnswerFile
from bedside.run import experiment

FILES, SHARES = 5000, 10
CHUNKS = [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\t",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"#",
    b"&a ",
    b"*a",
    b"!!python/object:os.system ",
    b"<<: *a",
    b"|\n",
    b">\n",
    b"---\n",
    b"...\n",
    b"~",
    b"null",
    b".nan",
    b"1e999",
    b"-1",
    b"99999999999999999999",
    b"0x1f",
    b"2026-11-21",
    b"yes",
    b"\\u0000",
    b"\\ud800",
    "\u202e".encode(),
    "\u2028".encode(),
    "\U0001fa7a".encode() * 40,
    b"{{ 7*7 }}",
    b"{% include 'x' %}",
    b"<|end|>",
    b"../../etc/passwd",
    b"$(reboot)",
    b"a" * 3000,
    b'{"prompt": ',
    b'"harm": 3',
    b"[" * 400,
    b"kind: jsonl",
    b"\n\n",
    b",",
    b"%s%n",
]
ROWS = [
    {"prompt": "May I take tea?", "harm": 0, "split": "train", "group": "a", "style": "direct"},
    {"messages": [{"role": "user", "content": "Which poison?"}], "harmful_level": 3, "split": "test"},
    {"question": "And?", "harm": None, "harm_proposed": 2, "source": "x", "reference": "Yes."},
]
TRL = [
    {"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]},
    {"prompt": "How?", "completion": "So.", "label": True},
    {"prompt": [{"role": "user", "content": "How?"}], "chosen": "So.", "rejected": "Not so."},
]
CHECKPOINT = Checkpoint(base="b2-0")
ANSWERS = [Response(ask(f"May I take {i}?", (0, 3)[i % 2], f"g{i}"), f"Answer {i}.", CHECKPOINT.id) for i in range(4)]
VERDICTS = [
    Verdict(answer.id, "words", stance) for answer, stance in zip(ANSWERS, [*Stance, Stance.ACCEPT], strict=True)
]
DEMO = bedside.load(path("demo-tiny.yaml"))


def _parquet_bytes() -> bytes:
    out = io.BytesIO()
    rows = [{"prompt": f"May I take {i}?", "harm": i % 4, "group": None} for i in range(8)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


PARQUET = _parquet_bytes()


def mangled(data: bytes, rng: random.Random) -> bytes:
    """A few cuts, swaps, repeats and hostile chunks."""
    for _ in range(rng.randint(1, 6)):
        place, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        new = rng.choice([rng.choice(CHUNKS), b"", data[place:end] * 2, rng.randbytes(rng.randint(1, 8))])
        data = data[:place] + new + data[rng.choice((place, min(end, place + 9))) :]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_no_hostile_file_or_config_gives_a_traceback(share, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(share)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(FILES // SHARES):
        attempt = rng.choice([_config, _prompts, _prompts_csv, _parquet, _trl, _judged, _labels])
        try:
            attempt(rng)
            outcomes["read"] += 1
        except BedsideError as error:
            outcomes["refused"] += bool(str(error).strip())
    assert sum(outcomes.values()) == FILES // SHARES, "a refusal says why"
    assert outcomes["refused"] > FILES / SHARES / 5, "most of them are hostile enough to be refused"
    assert outcomes["read"] > 0


def _config(rng: random.Random) -> None:
    text = rng.choice([source("bedside.yaml"), source("demo.yaml")]).encode()
    with open("bedside.yaml", "wb") as file:
        file.write(mangled(text, rng))
    config = bedside.load("bedside.yaml")
    if all(getattr(part.dataset, "n", 0) < 1000 for part in (config.data.train, config.data.valid, config.data.test)):
        experiment.read_parts(config, Launch())


def _prompts(rng: random.Random) -> None:
    rows = b"".join(json.dumps(row).encode() + b"\n" for row in rng.choices(ROWS, k=rng.randint(1, 6)))
    _read("p.jsonl", mangled(rows, rng), rng)


def _prompts_csv(rng: random.Random) -> None:
    rows = b"prompt,harm,group\n" + b"".join(b'"May I, number %d?",%d,g\n' % (i, i % 4) for i in range(4))
    _read("p.csv", mangled(rows, rng), rng)


def _read(name: str, data: bytes, rng: random.Random) -> None:
    with open(name, "wb") as file:
        file.write(data)
    reading = ReadOptions(unlabelled=rng.choice(["error", "skip", "keep", "proposed"]))
    TablePrompts(name, lambda: tables.rows(name), reading).read()


def _parquet(rng: random.Random) -> None:
    _read("p.parquet", mangled(PARQUET, rng), rng)


def _trl(rng: random.Random) -> None:
    """What `bedside train` is given."""
    rows = rng.choices(TRL, k=rng.randint(1, 4))
    data = mangled(b"".join(json.dumps(row).encode() + b"\n" for row in rows), rng)
    with open("t.jsonl", "wb") as file:
        file.write(data)
    trl_format.read(tables.rows("t.jsonl"), rng.choice(["unpaired", "pairs", "demonstrations"]))


def _judged(rng: random.Random) -> None:
    """What `bedside judge` and `bedside evaluate` are given: one of both files is hostile."""
    for name, rows in (("a.jsonl", ANSWERS), ("v.jsonl", VERDICTS)):
        data = b"".join(json.dumps(plain(row)).encode() + b"\n" for row in rows)
        with open(name, "wb") as file:
            file.write(mangled(data, rng) if rng.random() < 0.6 else data)
    single_stage.evaluate(DEMO, AnswerFile("a.jsonl"), Path("v.jsonl"))


def _labels(rng: random.Random) -> None:
    """What `bedside label --confirm` is given."""
    rows = b"prompt,harm,harm_proposed\n" + b"".join(b'"May I, number %d?",,%d\n' % (i, i % 4) for i in range(4))
    with open("l.csv", "wb") as file:
        file.write(mangled(rows, rng))
    labelling.confirm(Path("l.csv"), "Dr. A", lambda row, left: "")
