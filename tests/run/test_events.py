"""The log of a run is a chain: a line that was changed, moved or removed is named, and a torn one costs nothing."""

import pytest

from bedside.core.errors import DataError
from bedside.data import chained_log
from bedside.data.chained_log import HEADS
from bedside.run.events import EventLog, check_run_file, verify_events


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "run", now=lambda: "noon")
    for number in range(5):
        log.append("start", stage="judge", what=f"ü {number}")
    return log


def test_a_log_is_read_as_it_was_written(log):
    events, chain = verify_events(log.path)
    assert [event["what"] for event in events] == [f"ü {n}" for n in range(5)]
    assert events[0] == {"time": "noon", "event": "start", "stage": "judge", "what": "ü 0"}
    assert chain in log.path.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [*lines[:2], lines[2].replace("ü 2", "ü 3"), *lines[3:]], 3),
        (lambda lines: [*lines[:4], lines[4].replace("noon", "late")], 5),
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:3], "[" * 100_000 + "\n", *lines[3:]], 4),
        (lambda lines: [*lines[:3], "\n", *lines[3:]], 4),
        (lambda lines: lines[:-1], 5),
        (lambda lines: [*lines[:-1], lines[-1][:-20]], 5),
        (lambda lines: [], 1),
    ],
    ids=[
        *("changed", "the last one changed", "first removed", "removed", "moved", "nested", "empty"),
        *("last removed", "end cut off", "all removed"),
    ],
)
def test_the_first_line_that_is_not_what_was_written_is_named(log, change, line):
    log.path.write_text("".join(change(log.path.read_text().splitlines(keepends=True))))
    for use in (log.read, lambda: log.append("done")):
        with pytest.raises(DataError, match=f"events.jsonl, line {line}: is not what was written"):
            use()


def test_a_kill_between_a_line_and_the_note_of_it_costs_nothing(log):
    noted = (log.folder / HEADS).read_bytes()
    log.append("done")
    (log.folder / HEADS).write_bytes(noted)
    assert [event["event"] for event in log.read()][4:] == ["start", "done"]
    log.append("start")
    assert len(log.read()) == 7


def test_a_log_that_was_removed_and_a_kill_before_the_new_note_cost_nothing(log, monkeypatch):
    log.path.unlink()
    with monkeypatch.context() as killed:
        killed.setattr(chained_log, "write_heads", lambda *_: None)
        log.append("start")
    assert [event["event"] for event in log.read()] == ["start"]
    log.append("done")


def test_a_log_that_was_removed_begins_anew_and_a_damaged_note_is_named(log):
    log.path.unlink()
    log.append("start")
    assert len(log.read()) == 1
    for damaged in (b"", b"[]", (log.folder / HEADS).read_bytes().replace(b'"bytes": ', b'"bytes": 1')):
        (log.folder / HEADS).write_bytes(damaged)
        for use in (log.read, lambda: log.append("done")):
            with pytest.raises(DataError, match=r"log_heads\.json is not what was written: remove it"):
                use()
    (log.folder / HEADS).unlink()
    log.append("done")
    assert len(log.read()) == 2


def test_a_line_that_a_full_disk_tore_is_left_out_then_removed_and_the_log_goes_on(log):
    with log.path.open("ab") as out:
        out.write(b'{"event": "sta')
    assert len(log.read()) == 5
    removed = log.append("done")
    assert removed == 14
    assert [event["event"] for event in log.read()][4:] == ["start", "incomplete last line removed", "done"]
    assert log.append("done") == 0


def test_the_last_digest_of_a_file_counts_and_equal_bytes_add_no_line(log):
    file = log.folder / "summary.json"
    for text in ("one", "two", "two"):
        file.write_text(text)
        log.record(file)
    assert [event["event"] for event in log.read()][5:] == ["wrote", "wrote"]
    assert log.read_file("summary.json", "") == b"two"
    file.write_text("one")
    with pytest.raises(DataError, match="summary.json is not what was written: run align"):
        log.read_file("summary.json", "run align")


def test_where_the_line_that_knows_a_file_is_torn_or_missing_the_log_is_named_too(log):
    file = log.folder / "summary.json"
    file.write_text("one")
    noted = (log.folder / HEADS).read_bytes()
    log.record(file)
    (log.folder / HEADS).write_bytes(noted)  # a disk that was full
    log.path.write_bytes(log.path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"the last line of .*events\.jsonl, which is incomplete, knew it: run align"):
        log.read_file("summary.json", "run align")
    log.path.unlink()
    with pytest.raises(DataError, match=r"or .*events\.jsonl, which is missing, knew it: run align"):
        log.read_file("summary.json", "run align")


def test_a_file_given_by_path_is_compared_where_its_run_knows_it(log, tmp_path, monkeypatch):
    folder = log.folder / "cycle-1" / "kto"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("w")
    log.record(folder)
    (folder / "note").write_text("a person's own file passes")
    monkeypatch.chdir(tmp_path)
    check_run_file(folder)
    (tmp_path / "run/cycle-1/kto/weights").write_text("v")
    for path in (folder, folder / "weights", (tmp_path / "run/cycle-1").relative_to(tmp_path)):
        with pytest.raises(DataError, match="weights is not what was written"):
            check_run_file(path)
    check_run_file(tmp_path / "elsewhere.jsonl")
    (folder / "weights").unlink()
    with pytest.raises(DataError, match="weights is not what was written"):
        check_run_file(folder)
