"""What a person said leaves the reviews that hold it, and nothing else of a rater's work does."""

import csv
import json
import sqlite3
from contextlib import closing

import pytest
from tests.support.finished_run import small_run
from tests.web.test_review import by_judge, rate_all
from typer.testing import CliRunner

import bedside
from bedside.cli.main import app
from bedside.core.errors import DataError
from bedside.web import offline, packing, review_erasure, study
from bedside.web.packing import Design
from bedside.web.rating_store import FILE, Rating, RatingStore

SAID = "hide the bruises from the nurse, number 3"


@pytest.fixture
def review(tmp_path):
    """A locked and unblinded review of a run; a note of another item repeats what the person said."""
    run = small_run(tmp_path / "runs" / "clinic")
    folder = packing.pack([run], tmp_path / "review", Design(("anna", "ben"), "expert-100", sample=16, repeats=4))
    with closing(RatingStore(folder.root)) as store:
        rate_all(folder, store, by_judge)
        other = next(item for item in folder.items if SAID not in item.prompt[-1].text)
        kept = store.of("ben")[other.id]
        store.rate(Rating("ben", other.id, kept.answers, "As in: how do I HIDE the\nbruises from the nurse, number 3?"))
    bedside.lock_review(folder.root)
    bedside.unblind_review(folder.root)
    offline.write(folder)
    return folder


def holding(root):
    """Files below ``root`` that hold it, by bytes."""
    return [file for file in root.rglob("*") if file.is_file() and b"nurse, number 3" in file.read_bytes()]


def test_items_ratings_tables_and_pages_lose_it_and_the_rest_stays(review):
    held = [item.id for item in review.items if SAID in item.prompt[-1].text]
    before = bedside.review_agreement(review.root)
    assert held
    assert {file.name for file in holding(review.root)} >= {study.ITEMS, "labels.csv", "ratings.csv", FILE}
    result = bedside.erase(SAID, review.root.parent / "runs")
    assert [(r.run.name, r.left) for r in result.results] == [("clinic", ()), ("review", ())]
    assert not holding(review.root)
    left = study.read(review.root)
    assert [item.id for item in left.items] == [item.id for item in review.items if item.id not in held]
    assert left.key.keys() == {item.id for item in left.items}
    with closing(RatingStore(review.root)) as store:
        assert len(store.all()) == 2 * len(left.items)
        assert [rating.note for rating in store.all() if rating.note] == ["[ERASED]"]
    after = bedside.review_agreement(review.root)
    assert after.progress[0].rated == before.progress[0].rated - len(held)
    files = bedside.unblind_review(review.root).files  # what was locked stays locked
    with files[0].open(newline="", encoding="utf-8") as rows:
        assert len(list(csv.DictReader(rows))) == len([item for item in left.items if left.key[item.id].arms
                                                       and not left.key[item.id].repeats])  # fmt: skip
    assert not holding(review.root)


def test_a_dry_run_changes_nothing_and_says_the_same(review):
    before = {file: file.read_bytes() for file in review.root.rglob("*") if file.is_file()}
    dry = bedside.erase(SAID, review.root.parent / "runs", dry_run=True).results[-1]
    assert {file: file.read_bytes() for file in before} == before
    assert bedside.erase(SAID, review.root.parent / "runs").results[-1] == dry


def test_ratings_that_were_changed_are_not_those_that_were_locked_after_an_erasure_either(review):
    bedside.erase(SAID, review.root.parent / "runs")
    with closing(sqlite3.connect(review.root / FILE, isolation_level=None)) as db:
        db.execute("delete from events where number = (select min(number) from events)")
    with pytest.raises(DataError, match="the ratings are not those that were locked"):
        bedside.unblind_review(review.root)


def test_a_review_that_was_moved_is_named_by_hand(review, tmp_path):
    moved = review.root.rename(tmp_path / "elsewhere")
    assert [r.run.name for r in bedside.erase(SAID, tmp_path / "runs", dry_run=True).results] == ["clinic"]
    out = CliRunner().invoke(app, ["erase", SAID, "--runs", str(tmp_path / "runs"), "--review", str(moved)])
    assert out.exit_code == 0
    assert "elsewhere: erased: cached stages 0, rows" in out.output.replace("\n", "")
    assert not holding(tmp_path)


def test_a_review_that_cannot_be_read_is_named_and_the_runs_are_erased(review, tmp_path):
    (review.root / study.KEY).write_text("{")
    result = bedside.erase(SAID, tmp_path / "runs").results
    assert "key.jsonl: is not as `bedside review pack` wrote it" in result[-1].left[0]
    assert not holding(tmp_path / "runs")


def test_a_file_of_another_kind_is_named_and_left(review, tmp_path):
    (review.root / "notes.txt").write_text(SAID)
    assert bedside.erase(SAID, tmp_path / "runs").results[-1].left == ("notes.txt",)


@pytest.mark.parametrize("step", ["after the ratings", "between items and key"])
def test_a_killed_erasure_is_finished_by_a_second_one(review, tmp_path, step):
    held = {item.id for item in review.items if SAID in item.prompt[-1].text}
    with closing(RatingStore(review.root)) as store:
        store.erase(held, SAID)
    if step == "between items and key":
        lines = (review.root / study.ITEMS).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["id"] not in held]
        (review.root / study.ITEMS).write_text("".join(kept), encoding="utf-8")
    bedside.erase(SAID, tmp_path / "runs")
    assert not holding(review.root)
    left = study.read(review.root)
    keys = (review.root / study.KEY).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in keys] == [item.id for item in left.items]
    bedside.unblind_review(review.root)


def test_a_run_knows_where_it_was_packed_to(review, tmp_path):
    assert review_erasure.folders(tmp_path / "runs", ()) == [review.root.resolve()]
