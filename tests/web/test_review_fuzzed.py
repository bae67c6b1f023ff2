"""Hostile files and damaged databases: one line of error or a reading, and no rating that was kept is lost."""

import json
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from tests.support.finished_run import small_run
from tests.support.fuzzing import NUMBERS, RAW, TEXTS, VALUES
from tests.web.test_review import client, rate_all
from tests.web.test_review_claims import DESIGN, judged, rated_run
from tests.web.test_review_claims import rate_all as rate_claims

import bedside
from bedside.core.errors import BedsideError
from bedside.web import offline, packing, results, study
from bedside.web.links import RATER, Links
from bedside.web.packing import Design
from bedside.web.rating_store import FILE, Rating, RatingStore

LINES = 10_000
KEYS = ("item", "action", "stance", "harm", "note", "reason", "claim_1", "kinder", "review", "ratings", "rater", "data",
        "annotations", "fields", "responses", "completed_by", "result", "id", "")  # fmt: skip
WORDS = ("rate", "skip", "accept", "refuse", "2", "outside", "confirmed", "first", "anna", "7", "b2-0", *TEXTS)


@pytest.fixture(scope="module", params=["labels", "claims", "side by side"])
def packed(request, tmp_path_factory):
    """A review in which anna and ben have rated everything."""
    root = tmp_path_factory.mktemp("fuzz")
    if request.param == "claims":
        folder = packing.pack([rated_run(root / "clinic")], root / "review", DESIGN)
    else:
        preset = "expert-100" if request.param == "labels" else "comfort-ab"
        design = Design(("anna", "ben"), preset, sample=6, controls=2, repeats=2)
        folder = packing.pack([small_run(root / "clinic")], root / "review", design)
    with closing(RatingStore(folder.root)) as store:
        if request.param == "claims":
            rate_claims(folder, store, judged)
        else:
            choice = "accept" if request.param == "labels" else "first"
            rate_all(folder, store, lambda rater, key: choice)
    return folder


def events(folder):
    with closing(sqlite3.connect(folder.root / FILE)) as db:
        return db.execute("select * from events order by number").fetchall()


def outcome(attempt):
    """``read`` or ``refused``. A traceback is an error of the test."""
    message = "read"
    try:
        attempt()
    except (BedsideError, OSError) as error:
        message = str(error)
    assert message.strip()
    assert "\n" not in message
    return message if message == "read" else "refused"


class Damage:
    """Rows of one seed, damaged."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def value(self):
        return self.rng.choice((self.rng.choice(WORDS), self.rng.choice(VALUES), self.rng.choice(NUMBERS)))

    def table(self, row):
        changed = dict(row)
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 4))):
            changed[self.rng.choice((*row, *KEYS))] = self.value()
        for _ in range(self.rng.choice((0, 0, 0, 1))):
            changed.pop(self.rng.choice(list(changed)), None)
        return changed

    def text(self, text):
        """Bytes of ``text``, in which a byte, an end or a piece is another."""
        data, kind = text.encode("utf-8", "surrogatepass"), self.rng.random()
        at = self.rng.randrange(len(data) + 1)
        if kind < 0.5:
            return data
        if kind < 0.7:
            return data[:at]
        if kind < 0.9:
            return data[:at] + bytes([self.rng.randrange(256)]) + data[at + 1 :]
        return data[:at] + data[self.rng.randrange(len(data) + 1) :]


def dumped(value):
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(name, raw)
    return text


def answers(folder, damage, lines):
    """What the file of a rater saved, ``lines`` of its ratings damaged."""
    items = damage.rng.choices(folder.items, k=lines)
    rows = [
        {"item": i.id, "action": "rate", **{n: folder_choice(folder, i, n) for n in names(folder, i)}} for i in items
    ]
    link = Links(folder.secret).path(RATER, "anna").strip("/")
    content = {"review": link, "rater": "anna", "ratings": list(map(damage.table, rows))}
    return damage.table(content) if damage.rng.random() < 0.1 else content


def export(folder, damage, lines):
    """What Label Studio exports, its tasks damaged."""
    items = damage.rng.choices(folder.items, k=lines)
    chosen = [
        [{"from_name": name, "value": damage.table({"choices": [folder_choice(folder, item, name)]})}
         for name in names(folder, item)] for item in items
    ]  # fmt: skip
    return [
        damage.table({"data": damage.table({"item": item.id}), "annotations": [annotation(damage, results)]})
        for item, results in zip(items, chosen, strict=True)
    ]  # fmt: skip


def annotation(damage, results):
    return damage.table({"completed_by": "anna", "result": list(map(damage.table, results))})


def names(folder, item):
    return [one.name for one in folder.study.asked_of(item)]


def folder_choice(folder, item, name):
    return next(one.values[0] for one in folder.study.asked_of(item) if one.name == name)


def import_all(folder, tmp_path, lines):
    """How often each outcome came. What was there before is there after each file."""
    damage, outcomes, done, before = Damage(folder.study.kind), Counter(), 0, events(folder)
    file = tmp_path / "sent.json"
    while done < lines:
        n = damage.rng.choice((1, 1, 2, 8))
        made = damage.rng.choice((answers, export))(folder, damage, n)
        file.write_bytes(damage.text(dumped(made)))
        outcomes[outcome(lambda: bedside.import_review(folder.root, [file]))] += 1
        after = events(folder)
        assert after[: len(before)] == before
        before, done = after, done + n
    assert outcome(lambda: bedside.review_agreement(folder.root)) == "read"  # whatever was kept can be read
    return outcomes


def damaged_rows(folder, tmp_path, lines):
    """How often each outcome came of databases with one damaged event each."""
    damage, outcomes = Damage(f"rows of {folder.study.kind}"), Counter()
    root = tmp_path / "damaged"
    shutil.copytree(folder.root, root)
    with closing(sqlite3.connect(root / FILE, isolation_level=None)) as db:
        rows = db.execute("select number, kind, rater, item, answers from events").fetchall()
        for _ in range(lines):
            number, *row = damage.rng.choice(rows)
            column = damage.rng.choice(("kind", "rater", "item", "answers", "answers", "answers"))
            old = dict(zip(("kind", "rater", "item", "answers"), row, strict=True))[column]
            new = damage.value() if damage.rng.random() < 0.2 else damaged_cell(damage, column, old)
            try:
                db.execute(f"update events set {column} = ? where number = ?", (new, number))
            except (sqlite3.Error, UnicodeError, OverflowError):
                continue  # SQLite does not hold this
            outcomes[outcome(lambda: read_everything(root))] += 1
            db.execute(f"update events set {column} = ? where number = ?", (old, number))
    assert outcome(lambda: read_everything(root)) == "read"
    return outcomes


def damaged_cell(damage, column, old):
    if column != "answers":
        return damage.rng.choice((f"{old}x", "", "rating", "undo", "skip", "decision", "lock", b"\xff", 7))
    kept = json.loads(old)
    part = damage.rng.choice(("", "answers", "note"))
    changed = kept | {part: damage.table(kept[part])} if part == "answers" else damage.table(kept)
    return damage.text(dumped(changed)).decode("utf-8", "replace")


def read_everything(root):
    """What `agreement`, the pages, `lock` and `unblind` read."""
    folder = study.read(root)
    with closing(RatingStore(root)) as store:
        results.progress(folder, store.all())
        results.final_labels(folder, store.all(), store.decisions())
        store.state()
        for rater in folder.study.raters:
            store.last_sent(rater, folder.items[0].id)


def test_no_line_of_an_import_gives_a_traceback_or_loses_a_rating(packed, tmp_path):
    outcomes = import_all(packed, tmp_path, 100)
    assert min(outcomes["read"], outcomes["refused"]) >= 2


def test_no_row_of_a_database_gives_a_traceback(packed, tmp_path):
    outcomes = damaged_rows(packed, tmp_path, 30)
    assert min(outcomes["read"], outcomes["refused"]) >= 2


@pytest.mark.prove
def test_10_000_lines_and_rows(packed, tmp_path):
    """Of the three kinds of review together."""
    outcomes = import_all(packed, tmp_path, LINES // 4) + damaged_rows(packed, tmp_path, LINES // 12)
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 100


@pytest.mark.parametrize("name", [study.FILE, study.ITEMS, study.KEY, study.SECRET])
def test_no_file_of_a_review_gives_a_traceback(packed, tmp_path, name):
    root, damage, outcomes = tmp_path / "damaged", Damage(name), Counter()
    shutil.copytree(packed.root, root)
    whole = (root / name).read_text(encoding="utf-8")
    for _ in range(12):
        lines = whole.splitlines()
        place = damage.rng.randrange(len(lines))
        if name != study.SECRET and damage.rng.random() < 0.6:
            lines[place] = dumped(damage.table(json.loads(lines[place])))
            (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            (root / name).write_bytes(damage.text(whole))
        outcomes[outcome(lambda: (read_everything(root), offline.write(study.read(root))))] += 1
    assert outcomes.total() == 12
    assert outcomes["refused"] > 0 or name == study.SECRET  # another secret is one, too


def test_a_database_that_is_none_is_one_line(packed, tmp_path):
    root = tmp_path / "damaged"
    shutil.copytree(packed.root, root)
    (root / FILE).write_bytes(b"no database" * 400)
    assert outcome(lambda: bedside.review_agreement(root)) == "refused"


def test_a_server_says_that_its_database_is_damaged_and_shows_no_traceback(packed, tmp_path):
    from bedside.web.review_pages import ReviewPages

    root = tmp_path / "damaged"
    shutil.copytree(packed.root, root)
    with closing(sqlite3.connect(root / FILE, isolation_level=None)) as db:
        db.execute("update events set answers = '{' where number = 3")
    folder = study.read(root)
    with closing(RatingStore(root)) as store:
        pages = ReviewPages(folder, store)
        for path in ("anna", "ben", "lead"):
            answer = client(pages).get(pages.addresses()[path])
            assert answer.status_code == 500
            assert "ratings.sqlite, row 3: is not as this review wrote it; put back a copy" in answer.text
            assert str(tmp_path) not in answer.text


def test_half_a_character_in_a_note_is_replaced(packed, tmp_path):
    item = packed.items[0]
    root = tmp_path / "copy"
    shutil.copytree(packed.root, root)
    with closing(RatingStore(root)) as store:
        row = {"item": item.id, "note": "half \ud800 of it"}
        row |= {name: folder_choice(packed, item, name) for name in names(packed, item)}
        link = Links(packed.secret).path(RATER, "anna").strip("/")
        folder = study.read(root)
        assert offline.receive(folder, store, {"review": link, "rater": "anna", "ratings": [row]}, "a.json") == 1
        assert store.of("anna")[item.id].note == "half ? of it"
        assert isinstance(store.of("anna")[item.id], Rating)


@pytest.mark.parametrize(
    "held", ["", "{", "[1]", '{"digest": 3}', '{"events": 1}', "[" * 3000, "\x00", '{"digest": "b2-other"}']
)
def test_a_damaged_lock_is_one_line_and_no_label_is_written(packed, tmp_path, held):
    root = tmp_path / "locked"
    shutil.copytree(packed.root, root)
    bedside.lock_review(root, incomplete=True)
    before = events(study.read(root))
    (root / study.LOCKED).write_text(held)
    assert outcome(lambda: bedside.unblind_review(root)) == "refused"
    assert events(study.read(root)) == before
    assert not list(root.glob("*.csv"))
