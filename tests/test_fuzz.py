"""Five thousand hostile files: whatever stands in them, a person gets a message and never a traceback."""

import json
import random

import pytest

import bedside
from bedside.core.errors import BedsideError
from bedside.core.protocols import Launch
from bedside.flows import rules
from bedside.kernel import tables
from bedside.kernel.prompts import Reading, TablePrompts
from bedside.kernel.templates import source

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
        attempt = rng.choice([_config, _prompts, _prompts_csv])
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
        rules.read_parts(config, Launch())


def _prompts(rng: random.Random) -> None:
    rows = b"".join(json.dumps(row).encode() + b"\n" for row in rng.choices(ROWS, k=rng.randint(1, 6)))
    _read("p.jsonl", mangled(rows, rng), rng)


def _prompts_csv(rng: random.Random) -> None:
    rows = b"prompt,harm,group\n" + b"".join(b'"May I, number %d?",%d,g\n' % (i, i % 4) for i in range(4))
    _read("p.csv", mangled(rows, rng), rng)


def _read(name: str, data: bytes, rng: random.Random) -> None:
    with open(name, "wb") as file:
        file.write(data)
    reading = Reading(unlabelled=rng.choice(["error", "skip", "keep", "proposed"]))
    TablePrompts(name, lambda: tables.rows(name), reading).read()
