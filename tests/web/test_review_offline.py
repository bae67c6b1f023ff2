"""A review without the server: what comes back as a file counts as if it had been sent to the page."""

import base64
import hashlib
import html
import json
import re
from contextlib import closing

import pytest
import yaml
from tests.support.finished_run import small_run
from tests.support.report_pages import HOSTILE

import bedside
from bedside.core.errors import DataError
from bedside.web import annotation_tools, offline, packing, results, study
from bedside.web.links import RATER, Links
from bedside.web.packing import Design
from bedside.web.questions import FIRST, SAME, SECOND
from bedside.web.rating_store import RatingStore, ReviewLocked

SMALL = Design(("anna", "ben"), "expert-100", sample=8, controls=2, repeats=2)


@pytest.fixture
def packed(tmp_path):
    return packing.pack([small_run(tmp_path / "clinic")], tmp_path / "review", SMALL)


@pytest.fixture
def store(packed):
    with closing(RatingStore(packed.root)) as opened:
        yield opened


def answers_of(folder, rater, rows):
    return {"review": Links(folder.secret).path(RATER, rater).strip("/"), "rater": rater, "ratings": rows}


def rows_of(folder, rater, **more):
    return [{"item": item.id, "action": "rate", "stance": "caution", **more} for item in folder.order(rater)]


def test_the_file_of_a_rater_holds_their_items_in_their_order_and_nothing_that_is_kept_from_them(packed):
    for file, rater in zip(offline.write(packed), ("anna", "ben"), strict=True):
        page = file.read_text(encoding="utf-8")
        assert re.findall(r'data-item="(\w+)"', page) == [item.id for item in packed.order(rater)]
        assert not re.search(r"cycle-1|b2-|classifier|expected", page)
        assert ("ben" if rater == "anna" else "anna") not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
        assert file.stat().st_mode & 0o077 == 0


def test_the_file_allows_its_own_style_and_script_and_no_other(packed):
    page = offline.write(packed)[0].read_text(encoding="utf-8")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=|\sstyle=|\ssrc=|url\(", page)


def test_what_comes_back_counts_once_and_may_be_corrected(packed, store):
    rows = rows_of(packed, "anna", note="so")
    assert offline.receive(packed, store, answers_of(packed, "anna", rows), "a.json") == 12
    assert offline.receive(packed, store, answers_of(packed, "anna", rows), "a.json") == 0
    rows[0]["stance"] = "refuse"
    assert offline.receive(packed, store, answers_of(packed, "anna", rows), "a.json") == 1
    assert store.of("anna")[rows[0]["item"]].answers == {"stance": "refuse"}
    assert not store.of("ben")


def test_two_sides_come_back_as_they_were_shown(tmp_path):
    folder = packing.pack([small_run(tmp_path / "clinic")], tmp_path / "r", Design(("anna",), "comfort-ab", sample=6))
    with closing(RatingStore(folder.root)) as store:
        rows = [{"item": item.id, "kinder": FIRST, "more_correct": SAME} for item in folder.order("anna")]
        offline.receive(folder, store, answers_of(folder, "anna", rows), "a.json")
        kept = store.of("anna")
    sides = {item.id: folder.sides("anna", item) for item in folder.items}
    assert {name: rating.answers["kinder"] for name, rating in kept.items()} == {n: s[0] for n, s in sides.items()}
    assert {FIRST, SECOND} == {side[0] for side in sides.values()}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"review": "x.y"}, "a.json: these answers are of another review"),
        ({"ratings": [{"item": "nothing", "stance": "accept"}]}, "a.json, rating 1: is about no item of this review"),
        ({"ratings": ["text"]}, "a.json, rating 1: is about no item"),
        ({"ratings": [{"item": "FIRST", "stance": HOSTILE.replace("\ud800", "")}]}, "Not answered yet"),
        ({"ratings": [{"item": "FIRST", "action": "skip", "reason": "none"}]}, "Say why you skip it"),
    ],
)
def test_what_no_form_gives_is_named_and_not_kept(packed, store, changed, why):
    content = answers_of(packed, "anna", []) | json.loads(json.dumps(changed).replace("FIRST", packed.items[0].id))
    with pytest.raises(DataError, match=re.escape(why)):
        offline.receive(packed, store, content, "a.json")
    assert not store.all()


def test_answers_of_another_review_or_after_the_lock_are_not_taken(packed, store, tmp_path):
    other = packing.pack([tmp_path / "clinic"], tmp_path / "other", SMALL)
    with pytest.raises(DataError, match="these answers are of another review"):
        offline.receive(packed, store, answers_of(other, "anna", []), "a.json")
    results.lock(packed, store, incomplete=True)
    with pytest.raises(ReviewLocked):
        offline.receive(packed, store, answers_of(packed, "anna", rows_of(packed, "anna")), "a.json")


def test_label_studio_and_argilla_give_back_what_their_raters_chose(packed):
    tasks, interface = annotation_tools.write(packed, "label-studio")
    assert '<Choices name="stance" toName="prompt" choice="single" required="true">' in interface.read_text()
    exported = json.loads(tasks.read_text(encoding="utf-8"))
    for task in exported:
        chosen = [
            {"from_name": "stance", "value": {"choices": ["refuse"]}},
            {"from_name": "note", "value": {"text": "x"}},
        ]
        task["annotations"] = [{"completed_by": 7, "result": chosen}]
    (packed.root / "from-ls.json").write_text(json.dumps(exported), encoding="utf-8")
    with pytest.raises(DataError, match="rater 7 is none of anna, ben; say who it is: --rater 7=NAME"):
        bedside.import_review(packed.root, [packed.root / "from-ls.json"])
    assert bedside.import_review(packed.root, [packed.root / "from-ls.json"], {"7": "anna"}) == 12

    records, questions = annotation_tools.write(packed, "argilla")
    assert yaml.safe_load(questions.read_text())["questions"][0]["name"] == "stance"
    exported = json.loads(records.read_text(encoding="utf-8"))
    for record in exported:
        record["responses"] = {
            "stance": [{"value": "accept", "user_id": "u-1"}],
            "harm": [{"value": "0", "user_id": "u-1"}],
        }
    (packed.root / "from-argilla.json").write_text(json.dumps(exported), encoding="utf-8")
    assert bedside.import_review(packed.root, [packed.root / "from-argilla.json"], {"u-1": "ben"}) == 12
    with closing(RatingStore(packed.root)) as store:
        given = {(rating.rater, *sorted(rating.answers.items())) for rating in store.all()}
    assert given == {("anna", ("stance", "refuse")), ("ben", ("harm", "0"), ("stance", "accept"))}
    with pytest.raises(DataError, match="--format word: name one of html, label-studio, argilla"):
        bedside.export_review(packed.root, "word")


def test_the_tasks_of_other_tools_hold_nothing_that_is_kept_from_raters(packed):
    for form in annotation_tools.FORMS:
        tasks, _ = annotation_tools.write(packed, form)
        assert not re.search(r"cycle-1|b2-|classifier|expected|repeats", tasks.read_text(encoding="utf-8"))


def test_a_review_reads_back(packed):
    assert study.read(packed.root) == packed
