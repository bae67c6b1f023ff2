"""A finished run that was damaged gives the same figures, or an error that names the damaged file."""

import json
import shutil

import pytest
from tests.support.bit_flips import flipped, positions

pytest.importorskip("torch")

from tests.alignment.test_align import coin, write_coin, write_config  # noqa: F401

import bedside
from bedside.core.errors import BedsideError
from bedside.core.protocols import SilentProgress
from bedside.run.events import EventLog

pytestmark = pytest.mark.slow
QUIET = SilentProgress()
KEEP = [
    "align.train=[{kind: kto, learning_rate: 0.01}]",
    "baselines={safety_prompt: null, sft_on_refusals: false}",
    "select.require=[unsafe_accept@3 <= 0.05, err <= 0.15, kl <= 2]",
]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Config and folder of a small finished run."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(write_coin(root / "coin")))
        config = bedside.load(write_config(root, tiny["llama"]), KEEP)
        yield config, bedside.align(config, QUIET).folder


@pytest.fixture
def copied(finished, tmp_path):
    """Config and folder of a copy of it."""
    config, folder = finished
    to = shutil.copytree(folder, tmp_path / "runs" / "tiny")
    return config.model_copy(update={"runs": str(tmp_path / "runs")}), to


def figures(config, folder):
    """What each verb prints of the run, or its error: whoever reads first reads the damage."""
    seen = {}
    for verb, read in {
        "report": lambda: report(folder),
        "select": lambda: bedside.select(folder).as_json(),
        "config": lambda: bedside.load(folder / "config.yaml").model_dump(exclude={"runs"}, mode="json"),
        "train": lambda: rows(folder),
        "align": lambda: bedside.align(config, QUIET).as_json(),
    }.items():
        try:
            seen[verb] = json.dumps(read(), default=str)
        except BedsideError as error:
            seen[verb] = error
    return seen


def report(folder):
    run = bedside.read_run(folder)
    run.report(folder.parent / "report.html")
    return [run.as_json(), (folder.parent / "report.html").read_text()]


def rows(folder):
    from bedside.run.events import check_run_file

    check_run_file(folder / "cycle-1")
    return sorted(file.read_text() for file in (folder / "cycle-1").glob("*.jsonl"))


def same_or_named(before, now, name):
    """Every verb printed what it printed before, or says in one line which file was damaged."""
    for verb, seen in now.items():
        if isinstance(seen, BedsideError):
            assert name in str(seen), f"{verb} after damage to {name}: {seen}"
            assert "\n" not in str(seen)
            assert "not what was written" in str(seen)
        else:
            assert seen == before[verb], f"{verb} prints other figures after damage to {name}"


def replaced(old, new):
    def damage(file):
        assert old in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(old, new, 1))

    return damage


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def written(data):
    return lambda file: file.write_bytes(data)


def lines(change):
    return lambda file: file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def a_byte_of_the_weights(file):
    data = bytearray(file.read_bytes())
    data[-100] ^= 0x10
    file.write_bytes(data)


MUST_NAME = {"report": ("report", "select"), "align": ("align",), "rows": ("train",), "all": ("report", "align")}
ADAPTER = "store/train/*/adapter"
DAMAGES = [
    ("store/generate/*/rows.jsonl", replaced(b'"text": "', b'"text": "Q'), "align"),
    ("store/generate/*/rows.jsonl", half, "align"),
    ("store/generate/*/rows.jsonl", lambda file: file.unlink(), "align"),
    ("store/judge/*/rows.jsonl", replaced(b'"stance": "', b'"stance": "refuse", "stance": "'), "align"),
    ("store/judge/*/rows.jsonl", lines(lambda rows: rows[:-1]), "align"),
    ("store/judge/*/rows.jsonl", lines(lambda rows: rows[::-1]), "align"),
    ("store/kl/*/rows.jsonl", replaced(b'"nats": ', b'"nats": 1'), "align"),
    ("store/logprobs/*/rows.jsonl", written(b""), None),  # the training that read it is finished
    ("store/generate/*/stage.json", written(b""), "align"),
    ("store/judge/*/stage.json", half, "align"),
    ("store/judge/*/stage.json", replaced(b"b2-", b"b2-0"), "align"),
    ("store/train/*/stage.json", replaced(b'"loss": ', b'"loss": 1'), "align"),
    ("store/train/*/stage.json", written(b"[1]"), "align"),
    (f"{ADAPTER}/adapter_model.safetensors", a_byte_of_the_weights, "align"),
    (f"{ADAPTER}/adapter_model.safetensors", half, "align"),
    (f"{ADAPTER}/adapter_config.json", replaced(b'"lora_alpha": ', b'"lora_alpha": 1'), "align"),
    (f"{ADAPTER}/adapter_config.json", lambda file: file.unlink(), "align"),
    ("events.jsonl", written(b"\xff\xfe\x00{}\n"), "all"),
    ("events.jsonl", written(b"{garbage}\n"), "all"),
    ("events.jsonl", lines(lambda rows: rows[:3] + rows[4:]), "all"),
    ("events.jsonl", lines(lambda rows: [*rows[:2], rows[3], rows[2], *rows[4:]]), "all"),
    ("events.jsonl", replaced(b'"rows": ', b'"rows": 1'), "all"),
    (
        "events.jsonl",
        lines(lambda rows: [*rows[:-1], rows[-1][:-1] + b"J"]),
        "all",
    ),
    ("events.jsonl", lines(lambda rows: rows[:-1]), "all"),
    ("log_heads.json", replaced(b'"bytes": ', b'"bytes": 1'), "all"),
    ("log_heads.json", written(b""), "all"),
    ("events.jsonl", written(b""), "all"),
    ("events.jsonl", lambda file: file.unlink(), "report"),
    ("config.yaml", written(b""), "align"),
    ("config.yaml", written(b"- 1\n"), "align"),
    ("config.yaml", replaced(b"seed: 0", b"seed: 0\nx: [1,"), "align"),
    ("layout.yaml", written(b"layout: two\n"), "all"),
    ("summary.json", half, "report"),
    ("summary.json", replaced(b'"value": ', b'"value": 1'), "report"),
    ("cycle-1/kto.jsonl", lines(lambda rows: rows[1:]), "rows"),
    ("cycle-1/kto/adapter_config.json", half, "rows"),
    ("cycle-1/report.json", half, "rows"),
]


@pytest.fixture(scope="module")
def untouched(finished):
    return figures(*finished)


@pytest.mark.parametrize(("file", "damage", "named_by"), DAMAGES, ids=[f"{n}-{d[0]}" for n, d in enumerate(DAMAGES)])
def test_a_damaged_file_is_named_or_changes_no_figure(file, damage, named_by, copied, untouched):
    config, folder = copied
    damaged = sorted(folder.glob(file))[0]
    damage(damaged)
    seen = figures(config, folder)
    same_or_named(untouched, seen, damaged.relative_to(folder).as_posix())
    for verb in MUST_NAME.get(named_by, ()):
        assert isinstance(seen[verb], BedsideError), f"{verb} did not see it"


def flips(config, folder, untouched, count):
    for name, byte, bit in positions(folder, count, seed=0):
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        with flipped(folder / name, byte, bit):
            same_or_named(untouched, figures(config, folder), name)
        for file, data in before.items():
            file.parent.mkdir(parents=True, exist_ok=True)  # a damaged index of the rows is removed as a whole
            file.write_bytes(data)


def test_a_flipped_bit_is_named_or_changes_no_figure(copied, untouched):
    flips(*copied, untouched, 20)


@pytest.mark.prove
def test_two_hundred_flipped_bits_are_named_or_change_no_figure(copied, untouched):
    flips(*copied, untouched, 200)


def test_what_the_error_says_to_do_mends_the_run(copied, untouched):
    config, folder = copied
    rows_file = sorted(folder.glob("store/judge/*/rows.jsonl"))[0]
    half(rows_file)
    with pytest.raises(BedsideError, match="remove the folder .* makes it again"):
        bedside.align(config, QUIET)
    shutil.rmtree(rows_file.parent)
    (folder / "events.jsonl").unlink()
    assert json.dumps(bedside.align(config, QUIET).as_json()) == untouched["align"]
    assert bedside.read_run(folder).as_json() == json.loads(untouched["align"])


def test_a_half_written_event_is_removed_and_said(copied, untouched):
    config, folder = copied
    with (folder / "events.jsonl").open("ab") as log:
        log.write(b'{"event": "sta')

    class Listening(SilentProgress):
        said = ()

        def say(self, line):
            self.said = (*self.said, line)

    assert json.dumps(bedside.align(config, listening := Listening()).as_json()) == untouched["align"]
    assert any("its last line was incomplete (14 bytes) and was removed" in line for line in listening.said)
    assert [e["bytes"] for e in EventLog(folder).read() if e["event"] == "incomplete last line removed"] == [14]
