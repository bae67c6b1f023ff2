"""The index of a run's rows is kept: it says what a new one says, and goes when its rows go."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.support.finished_run import ACCEPT, REFUSE, small_run, write_run
from tests.support.prompts import ask

from bedside.alignment import held_out_answers
from bedside.core.errors import DataError, StageError
from bedside.core.protocols import SilentProgress
from bedside.run import summary_file
from bedside.run.erasure import erase
from bedside.run.owner import owned
from bedside.web import kept_index, view
from bedside.web.row_filter import RowFilter

ADDRESSES = ("/", "/?of=before", "/?level=3&failed=1", "/?words=number+3%3F", "/?degenerate=1", "/row/10?level=3")


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "runs" / "clinic")


def pages(run):
    shown = TestClient(view.application(view.open_run(run, SilentProgress())))
    return [shown.get(address).text for address in ADDRESSES]


def kept(run):
    return sorted(run.glob("store/view/*"))


def test_a_second_view_shows_the_same_pages_and_builds_nothing(run, monkeypatch):
    first = pages(run)
    (folder,) = kept(run)
    written = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr(held_out_answers, "read", None)  # a call of it would fail
    assert pages(run) == first
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == written
    assert written.keys() == {"table.json", "words.txt", "stage.json"}
    assert len(written["words.txt"].splitlines()) == 16


def test_the_index_that_a_run_leaves_at_its_end_is_that_of_the_first_view(run, monkeypatch):
    shown = pages(run)
    (folder,) = kept(run)
    of_view = {file.name: file.read_bytes() for file in folder.iterdir()}
    for file in folder.iterdir():
        file.unlink()
    with owned(run):
        kept_index.write_index(run, summary_file.read(run), SilentProgress())
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == of_view
    monkeypatch.setattr(held_out_answers, "read", None)  # a call of it would fail
    assert pages(run) == shown


def test_a_run_whose_answers_are_gone_ends_without_an_index(run):
    for file in run.glob("store/judge/*/*"):
        file.unlink()
    kept_index.write_index(run, summary_file.read(run), SilentProgress())
    assert not kept(run)


def test_a_run_that_went_on_gets_a_new_index_and_the_old_one_goes(run):
    pages(run)
    (old,) = kept(run)
    file = run / "summary.json"
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    from bedside.run.events import EventLog

    EventLog(run).record(file)
    pages(run)
    (new,) = kept(run)
    assert new != old


@pytest.mark.parametrize("name", ["table.json", "words.txt", "stage.json"])
def test_an_index_that_was_changed_is_an_error_that_names_the_folder(run, name):
    pages(run)
    file = kept(run)[0] / name
    file.write_bytes(file.read_bytes().replace(b"0", b"1"))
    with pytest.raises(StageError, match=rf"{re.escape(str(file))} is not what was written: remove the folder"):
        view.open_run(run, SilentProgress())


def test_answers_that_were_changed_are_an_error_with_an_index_too(run):
    pages(run)
    for file in run.glob("store/generate/*/rows.jsonl"):
        file.write_bytes(file.read_bytes().replace(b"plaster", b"PLASTER"))
    with pytest.raises(StageError, match=r"rows\.jsonl is not what was written"):
        view.open_run(run, SilentProgress())


def test_an_erased_text_is_in_no_index_and_its_rows_are_shown_no_more(run):
    pages(run)
    held = "bruises from the nurse, number 3"
    assert held in (kept(run)[0] / "words.txt").read_text(encoding="utf-8")
    erase(run.parent, held, adapters=False)
    assert not kept(run)
    with pytest.raises(DataError, match="its store does not hold what checkpoint"):
        view.open_run(run, SilentProgress())
    assert not kept(run)


def test_nothing_is_kept_of_answers_that_are_erased_while_they_are_indexed(run):
    of_run = summary_file.read(run)
    answers = held_out_answers.read(run, of_run)
    built = kept_index._build(answers, held_out_answers.metric(of_run))
    erase(run.parent, "bruises from the nurse, number 3", adapters=False)
    folder = kept_index.StageDir(run / "store" / "view" / "b2-any")
    kept_index._keep(folder, run, answers, built)
    assert not kept(run)


def test_a_run_that_another_process_owns_is_only_read(run):
    expected = pages(run)
    for folder in kept(run):
        for file in folder.iterdir():
            file.unlink()
    with owned(run):
        assert pages(run) == expected
        assert not (kept(run)[0] / "stage.json").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_only_read(run):
    run.chmod(0o500)
    (run / "store").chmod(0o500)
    assert "plaster" in pages(run)[0]


def test_the_index_is_its_owners_alone_as_the_run_is(run):
    pages(run)
    assert [file.stat().st_mode & 0o077 for file in (kept(run)[0], *kept(run)[0].iterdir())] == [0] * 4


class Heard:
    def __init__(self):
        self.lines, self.heard = [], threading.Event()

    def say(self, line):
        self.lines.append(line)
        self.heard.set()


def test_a_person_hears_of_work_that_takes_long_and_of_no_other(run, monkeypatch):
    quick, slow = Heard(), Heard()
    view.open_run(run, quick)
    assert not quick.lines
    monkeypatch.setattr(kept_index, "SLOW_SECONDS", 0.0)
    with kept_index._said_if_slow(slow, kept_index.SLOW):
        assert slow.heard.wait(30)
    assert slow.lines == [kept_index.SLOW]


@pytest.mark.slow
def test_40_000_kept_rows_are_there_in_a_second(tmp_path: Path):
    prompts = [ask(f"Number {n}? {'word ' * 40}{n * 7}", n % 4, f"g{n // 3}") for n in range(40_000)]
    before, after = ([(f"{text} {n} {'text ' * 100}", (ACCEPT, REFUSE)[n % 2]) for n in range(40_000)] for text in "ab")
    run = write_run(tmp_path / "large", prompts, before, after)
    view.open_run(run, SilentProgress())
    began = time.process_time()
    opened = view.open_run(run, SilentProgress())
    assert opened.index.page(RowFilter()).total == 40_000
    assert time.process_time() - began < 1
    began = time.process_time()
    assert opened.index.page(RowFilter(words="number 3999")).total == 11
    assert time.process_time() - began < 1
