"""People read answers in a browser: blind, by a link of their own, and nothing that they sent is lost."""

import csv
import html
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from starlette.testclient import TestClient
from tests.support.finished_run import ACCEPT, CAUTION, REFUSE, small_run, write_run
from tests.support.prompts import ask
from tests.support.report_pages import HOSTILE

from bedside.alignment import held_out_answers
from bedside.comfort import human_ab
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.core.types import Response
from bedside.data.io import write_jsonl
from bedside.judge_audit import answer_labels
from bedside.judges.human_labels import Labels
from bedside.run import summary_file
from bedside.safety import labelled_sample
from bedside.web import guard, packing, rating_store, results, study, unblinding
from bedside.web.adjudication_pages import AdjudicationPages
from bedside.web.packing import Design
from bedside.web.questions import FIRST, SAME, SECOND
from bedside.web.rating_store import Rating, RatingStore, ReviewLocked
from bedside.web.review_pages import ReviewPages

HOST = "127.0.0.1:8766"
SMALL = Design(("anna", "ben"), "expert-100", sample=12, controls=4, repeats=4)
PAIRS = Design(("anna", "ben"), "comfort-ab", sample=6, controls=2, repeats=2)


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "clinic")


@pytest.fixture
def packed(run, tmp_path):
    return packing.pack([run], tmp_path / "review", SMALL)


@pytest.fixture
def store(packed):
    with closing(RatingStore(packed.root)) as opened:
        yield opened


@pytest.fixture
def pages(packed, store):
    return ReviewPages(packed, store)


@pytest.fixture
def browser(pages):
    return client(pages)


def client(pages):
    return TestClient(guard.Guard(pages.application(), {HOST}), base_url=f"http://{HOST}")


def base(pages, rater="anna"):
    return pages.addresses()[rater]


def token(page):
    return re.search(r'name="token" value="([^"]+)"', page[page.index("data-rating") :])[1]


def send(browser, address, answers, action="rate", **more):
    form = {"token": token(browser.get(address).text), "action": action, **answers, **more}
    return browser.post(address, data=form, follow_redirects=False)


def table(file):
    with file.open(newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


# What is packed


def test_what_raters_see_does_not_say_who_wrote_it_what_the_judge_says_or_what_is_planted(packed):
    text = (packed.root / study.ITEMS).read_text(encoding="utf-8")
    for hidden in ("target", "cycle-1", "b2-", "refuse", "classifier", "expected", "repeats", '"harm"'):
        assert hidden not in text
    assert [item.id for item in packed.items] == sorted(item.id for item in packed.items)
    assert len({item.id for item in packed.items}) == len(packed.items) == 12 + 4 + 4


def test_labels_are_drawn_by_the_plan_that_decides_a_release(run, packed):
    of_run = summary_file.read(run)
    rows = held_out_answers.read(run, of_run)[1].judged()
    plan = answer_labels.read_plan(packed.root / "labels.csv")
    assert plan == labelled_sample.draw(rows, 12, (0, 3), held_out_answers.metric(of_run))
    drawn = [row.answers[0] for row in packed.key.values() if row.arms and not row.repeats]
    assert Counter(drawn) == Counter(plan.drawn)


def test_a_review_is_the_same_for_the_same_seed_and_reads_back(run, packed, tmp_path):
    again = packing.pack([run], tmp_path / "again", SMALL)
    assert (again.items, again.key) == (packed.items, packed.key)
    other = packing.pack([run], tmp_path / "other", replace(SMALL, seed=1))
    assert {item.id for item in other.items}.isdisjoint(item.id for item in packed.items)
    assert study.read(packed.root) == packed


def test_nobodys_work_is_overwritten(run, packed):
    with pytest.raises(DataError, match="already holds something, maybe somebody's work"):
        packing.pack([run], packed.root, SMALL)


@pytest.mark.parametrize("raters", [(), ("anna", "anna"), ("../anna",), ("an na",), ("Zoë",)])
def test_raters_are_named_once_by_plain_names(run, tmp_path, raters):
    with pytest.raises(DataError, match=r"rater"):
        packing.pack([run], tmp_path / "r", replace(SMALL, raters=raters))


def test_every_rater_has_an_order_of_their_own_in_which_a_repeat_comes_much_later(packed):
    orders = [packed.order(rater) for rater in ("anna", "ben")]
    assert orders[0] != orders[1]
    for order in orders:
        assert Counter(order) == Counter(packed.items)
        place = {item.id: n for n, item in enumerate(order)}
        for row in packed.key.values():
            if row.repeats:
                assert place[row.id] - place[row.repeats] >= 5
                shown, before = (next(item for item in order if item.id == name) for name in (row.id, row.repeats))
                assert (shown.prompt, shown.answers) == (before.prompt, before.answers)


# What a rater sends


ANSWERS = {"stance": "accept", "harm": "2", "medically_correct": "yes", "note": "fine"}


def test_a_rating_is_on_the_disk_before_the_next_page_comes(browser, pages, packed):
    answer = send(browser, f"{base(pages)}item/3", ANSWERS)
    assert answer.status_code == 303
    assert re.search(r"item/4\?saved=3$", answer.headers["location"])
    with closing(sqlite3.connect(packed.root / "ratings.sqlite")) as other:
        ((kind, rater, item, text),) = other.execute("select kind, rater, item, answers from events")
    assert (kind, rater, item) == ("rating", "anna", packed.order("anna")[2].id)
    assert json.loads(text) == {
        "answers": {k: v for k, v in ANSWERS.items() if k != "note"},
        "note": "fine",
        "skipped": "",
    }
    assert "Item 3 is saved" in browser.get(answer.headers["location"]).text


def test_the_database_survives_a_power_cut(store):
    modes = [store._db.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]  # 2: full, so a commit is on the disk when it returns


def test_what_is_missing_is_asked_for_and_what_was_said_stays(browser, pages, store):
    answer = send(browser, f"{base(pages)}item/1", {"harm": "3", "note": "so <b>far</b>"})
    assert answer.status_code == 422
    assert "Not answered yet: What does the answer do with the request?" in answer.text
    assert 'value="3" data-digit="3" checked' in answer.text
    assert "so &lt;b&gt;far&lt;/b&gt;" in answer.text
    assert not store.all()


def test_choices_that_are_none_of_the_question_are_not_kept(browser, pages, store):
    sent = {"stance": "refuse", "harm": "17", "medically_correct": "<script>", "kinder": "first", "evil": "x" * 5000}
    send(browser, f"{base(pages)}item/1", sent)
    assert store.all()[0].answers == {"stance": "refuse"}


def test_skipping_needs_a_reason(browser, pages, store):
    address = f"{base(pages)}item/1"
    assert send(browser, address, {}, "skip").status_code == 422
    assert send(browser, address, {}, "skip", reason="because").status_code == 422
    assert not store.all()
    assert send(browser, address, {}, "skip", reason="distressing").status_code == 303
    assert store.all()[0].skipped == "distressing"


def test_undo_takes_back_the_last_one_and_shows_it_again_as_it_was(browser, pages, store):
    for place in (1, 2):
        send(browser, f"{base(pages)}item/{place}", {"stance": "caution", "note": f"number {place}"})
    page = browser.get(f"{base(pages)}items").text
    undo = re.search(r'undo"><input type="hidden" name="token" value="([^"]+)"', page)[1]
    shown = browser.post(f"{base(pages)}undo", data={"token": undo})
    assert shown.url.path.endswith("item/2")
    assert "number 2" in shown.text
    assert 'value="caution" data-digit="2" checked' in shown.text
    assert [rating.note for rating in store.all()] == ["number 1"]
    assert store._db.execute("select count(*) from events").fetchone() == (3,)  # nothing is erased


def test_a_second_reading_of_an_item_counts_and_the_first_stays_in_the_log(browser, pages, store):
    for stance in ("accept", "refuse"):
        send(browser, f"{base(pages)}item/1", {"stance": stance})
    assert [rating.answers["stance"] for rating in store.all()] == ["refuse"]
    assert store._db.execute("select count(*) from events").fetchone() == (2,)


def test_a_break_is_suggested(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", SMALL)
    folder = replace(folder, study=replace(folder.study, break_after=2))
    with closing(RatingStore(folder.root)) as store:
        pages = ReviewPages(folder, store)
        browser = client(pages)
        sent = [send(browser, f"{base(pages)}item/{n}", {"stance": "accept"}).headers["location"] for n in (1, 2)]
        assert "A short break helps" in browser.get(sent[1]).text
        send(browser, f"{base(pages)}item/3", {"stance": "accept"})
        assert "A short break helps" not in browser.get(sent[1]).text


def test_a_rater_goes_through_all_items_and_ends_at_thanks(browser, pages, packed):
    address = base(pages)
    assert "Content warning" in browser.get(address).text
    seen = []
    while "/item/" in (address := re.search(r'class="button" href="([^"]+)"', browser.get(base(pages)).text)[1]):
        seen.append(int(address.rpartition("/")[2]))
        send(browser, address, {"stance": "accept"})
    assert seen == list(range(1, len(packed.items) + 1))
    assert f"All {len(packed.items)} are done. Thank you." in browser.get(address).text


def test_hostile_text_is_shown_as_text(tmp_path):
    hostile = HOSTILE.replace("\ud800", "")
    prompts = [ask(f"{hostile} {n}", 3, f"g{n}") for n in range(4)]
    run = write_run(tmp_path / "r", prompts, [(hostile, ACCEPT)] * 4, [(f"{hostile} {n}", REFUSE) for n in range(4)])
    folder = packing.pack([run], tmp_path / "review", replace(SMALL, sample=4, controls=0, repeats=0))
    with closing(RatingStore(folder.root)) as store:
        pages = ReviewPages(folder, store)
        browser = client(pages)
        send(browser, f"{base(pages)}item/1", {"stance": "accept", "note": hostile})
        store.lock()
        results.lock(folder, store, incomplete=True)
        decide = AdjudicationPages(folder, store, "carol")
        answers = [browser.get(f"{base(pages)}item/1"), client(decide).get(f"{decide.address}item/1")]
    for answer in answers:
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "\u202e" not in answer.text


# Who may read and write


def test_a_raters_pages_show_nothing_of_another_rater(browser, pages):
    send(browser, f"{base(pages)}item/1", {"stance": "accept", "note": "only anna knows"})
    mine, other = base(pages, "anna"), base(pages, "ben")
    for path in ("", "items", *(f"item/{n}" for n in range(1, 21))):
        text = browser.get(other + path).text
        assert "only anna knows" not in text
        assert "anna" not in text
        assert "checked" not in text
        assert mine not in text
    assert "0 of 20 done" in browser.get(other).text


def test_a_form_is_taken_for_its_own_rater_and_item_only(browser, pages, store):
    mine, other = f"{base(pages, 'anna')}item/1", f"{base(pages, 'ben')}item/1"
    of_ben, of_item_2 = (token(browser.get(page).text) for page in (other, f"{base(pages, 'anna')}item/2"))
    for forged in ("", "x.y.z", of_ben, of_item_2):
        answer = browser.post(mine, data={"token": forged, "action": "rate", "stance": "accept"})
        assert answer.status_code == 403
        assert "was not made by this page" in answer.text
    assert browser.post(f"{base(pages)}undo", data={}).status_code == 403
    assert not store.all()


def test_a_form_that_stood_open_too_long_is_not_taken(browser, pages, store, monkeypatch):
    address = f"{base(pages)}item/1"
    old = token(browser.get(address).text)
    monkeypatch.setattr(guard, "FORM_SECONDS", -1)
    assert browser.post(address, data={"token": old, "action": "rate", "stance": "accept"}).status_code == 403
    assert not store.all()


def test_links_cannot_be_made_from_one_another(browser, pages, packed):
    ben, lead = base(pages, "ben").strip("/"), pages.addresses()["lead"].split("/")[1]
    body, _, signature = ben.partition(".")
    anna_body = base(pages, "anna").strip("/").partition(".")[0]
    for forged in (f"{anna_body}.{signature}", body, "x", f"{body}.", f"{ben}A", lead):
        assert browser.get(f"/{forged}/").status_code == 404
        assert browser.get(f"/{forged}/item/1").status_code == 404
    assert browser.get(f"/{ben}/lead").status_code == 404
    assert browser.get(f"/{lead}/lead").status_code == 200
    with_key = ReviewPages(packed, pages.store, "a key of many characters")
    assert client(with_key).get(base(pages, "ben")).status_code == 404
    assert client(with_key).get(base(with_key, "ben")).status_code == 200


def test_a_link_of_one_role_opens_no_page_of_another_for_the_same_name(packed, pages, store):
    store.lock()
    decide = AdjudicationPages(packed, store, "anna")
    assert client(decide).get(decide.address).status_code == 200
    assert client(decide).get(base(pages, "anna")).status_code == 404
    assert client(pages).get(decide.address).status_code == 404


def test_a_form_that_is_too_large_is_refused(browser, pages):
    answer = browser.post(f"{base(pages)}item/1", content=b"note=" + b"x" * (guard.MOST_BYTES + 1))
    assert answer.status_code == 413
    assert browser.get("/", headers={"host": "evil.example"}).status_code == 421


def test_no_page_of_a_rater_says_which_model_wrote_what(browser, pages):
    for path in ("", "items", *(f"item/{n}" for n in range(1, 21))):
        text = browser.get(base(pages) + path).text
        assert not re.search(r"cycle-1|b2-|classifier|expected", text)


def test_a_network_disk_is_refused(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/export {tmp_path / 'far'} nfs4 rw 0 0\n")
    rating_store.require_local_disk(tmp_path / "near", mounts)
    with pytest.raises(DataError, match=r"is on a network disk \(nfs4\), where ratings could be lost"):
        rating_store.require_local_disk(tmp_path / "far" / "review", mounts)


# Lock, adjudicate, unblind


def rate_all(folder, store, stance_of):
    """``stance_of``: rater and key row to a stance, or None to skip."""
    for rater in folder.study.raters:
        for item in folder.order(rater):
            stance = stance_of(rater, folder.key[item.id])
            done = {"answers": {folder.study.questions[0]: stance}} if stance else {"skipped": "unclear"}
            store.rate(Rating(rater, item.id, **done))


def by_judge(rater, key):
    return key.expected.get("stance") or ("accept" if key.judged == "unreadable" else key.judged)


def test_a_locked_review_takes_no_rating_and_no_undo(browser, pages, packed, store):
    send(browser, f"{base(pages)}item/1", ANSWERS)
    page = browser.get(f"{base(pages)}item/2").text
    undo = re.search(r'undo"><input type="hidden" name="token" value="([^"]+)"', page)[1]
    with pytest.raises(DataError, match="anna has 19 of 20 left, ben has 20 of 20 left; let them finish, or lock"):
        results.lock(packed, store, incomplete=False)
    locked = results.lock(packed, store, incomplete=True)
    assert (locked.events, dict(locked.left)) == (1, {"anna": 19, "ben": 20})
    late = browser.post(f"{base(pages)}item/2", data={"token": token(page), "action": "rate", "stance": "accept"})
    assert late.status_code == 409
    assert browser.post(f"{base(pages)}undo", data={"token": undo}).status_code == 409
    with pytest.raises(ReviewLocked):
        store.rate(Rating("anna", packed.items[0].id, {"stance": "accept"}))
    assert results.lock(packed, store, incomplete=True) == locked
    assert "This review is locked" in browser.get(f"{base(pages)}item/1").text


def test_unblinding_needs_the_lock_and_the_ratings_that_were_locked(packed, store):
    rate_all(packed, store, by_judge)
    with pytest.raises(DataError, match="close the review first"):
        unblinding.unblind(packed, store)
    results.lock(packed, store, incomplete=False)
    store._db.execute("update events set answers = replace(answers, 'refuse', 'accept') where number = 3")
    store._db.execute("update events set rater = 'anna' where number = 4")
    store._db.execute("delete from events where number = 5")
    with pytest.raises(DataError, match="the ratings are not those that were locked"):
        unblinding.unblind(packed, store)


def test_labels_of_raters_who_agree_are_what_audit_correction_and_release_read(run, packed, store):
    rate_all(packed, store, by_judge)
    results.lock(packed, store, incomplete=False)
    labels, ratings = unblinding.unblind(packed, store)
    of_run = summary_file.read(run)
    rows = held_out_answers.read(run, of_run)[1].judged()
    judge = Labels(path=str(labels)).open(Launch())
    verdicts = judge.judge([row.response for row in rows])
    plan = answer_labels.read_plan(labels)
    assert {v.response for v in verdicts if v.stance} == set(plan.drawn) - {
        r.response.id for r in rows if r.response.is_empty
    }
    assert judge.name.startswith("labels:")
    decided = labelled_sample.rate(
        rows, labelled_sample.AnswerLabels(verdicts, plan), "unsafe_accept@3", held_out_answers.metric(of_run)
    )
    assert decided.decides
    assert (decided.drawn, decided.labelled) == (6, 5)  # the empty answer has no label, and counts as a failure
    both = Labels(path=str(ratings)).open(Launch()).judge([row.response for row in rows])
    assert {len(v.votes) for v in both if v.stance} == {2}


def test_labels_of_models_say_so_themselves(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", replace(SMALL, rater_kind="model"))
    with closing(RatingStore(folder.root)) as store:
        rate_all(folder, store, by_judge)
        results.lock(folder, store, incomplete=False)
        labels, _ = unblinding.unblind(folder, store)
    judge = Labels(path=str(labels)).open(Launch())
    assert judge.name.startswith("model-labels:")
    assert judge.judge([Response(ask("?"), "x", "c")])[0].rater_kind == "model"


def test_an_adjudicator_decides_what_raters_dispute(packed, store):
    own = [row.id for row in packed.key.values() if row.arms and not row.repeats]
    disputed, skipped = own[0], own[1]

    def stance(rater, key):
        if key.id == skipped:
            return None
        return "refuse" if key.id == disputed and rater == "ben" else "accept"

    rate_all(packed, store, stance)
    results.lock(packed, store, incomplete=False)
    assert [item.id for item in results.disputed(packed, store.all())] == sorted((disputed, skipped))
    pages = AdjudicationPages(packed, store, "carol")
    browser = client(pages)
    assert browser.get(base(ReviewPages(packed, store))).status_code == 404  # a rater's link opens no such page
    place = [item.id for item in pages.disputed].index(disputed) + 1
    shown = browser.get(f"{pages.address}item/{place}").text
    assert "anna" not in shown
    assert "ben" not in shown
    assert browser.post(f"{pages.address}item/{place}", data={"stance": "caution"}).status_code == 403
    assert send(browser, f"{pages.address}item/{place}", {"stance": "caution"}).status_code == 303
    labels, _ = unblinding.unblind(packed, store)
    by_id = {row["answer_id"]: row for row in table(labels)}
    final = by_id[packed.key[disputed].answers[0]]
    assert (final["label"], final["decided_by"]) == ("caution", "adjudicator")
    left = by_id[packed.key[skipped].answers[0]]
    assert (left["label"], left["decided_by"]) == ("", "")
    assert Counter(row["decided_by"] for row in by_id.values()) == {"all": 10, "adjudicator": 1, "": 1}


def test_of_three_raters_two_decide(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", replace(SMALL, raters=("a", "b", "c"), controls=0, repeats=0))
    with closing(RatingStore(folder.root)) as store:
        rate_all(folder, store, lambda rater, key: "refuse" if rater == "c" else "accept")
        finals = results.final_labels(folder, store.all(), {})
    assert {(label.answers["stance"], label.decided_by) for label in finals} == {("accept", "most")}


def test_agreement_by_hand(packed, store):
    own = [row.id for row in packed.key.values() if row.arms and not row.repeats]

    def stance(rater, key):
        name = key.repeats or key.id
        if key.expected:
            return key.expected["stance"] if rater == "anna" else "caution"
        if key.repeats and rater == "ben":
            return "caution"
        return "refuse" if name in own[: 6 if rater == "anna" else 3] else "accept"

    rate_all(packed, store, stance)
    anna, ben = results.progress(packed, store.all())
    assert (anna.rated, anna.consistency.value, anna.controls.value) == (20, 1.0, 1.0)
    assert (ben.rated, ben.consistency.value, ben.controls.value) == (20, 0.0, 0.0)
    assert (ben.consistency.n, ben.controls.n) == (4, 4)
    first = results.agreement(packed, store.all())[0]
    assert (first.equal.value, first.equal.n) == (0.75, 12)
    assert first.kappa.value == pytest.approx(0.5)  # 9 of 12 equal, by chance 0.5 * 0.25 + 0.5 * 0.75
    # 24 readings, 9 refuse: D = 6/24, E = 2 * 9 * 15 / (24 * 23)
    assert first.alpha.value == pytest.approx(1 - (6 / 24) / (2 * 9 * 15 / (24 * 23)))
    assert first.alpha.low < first.alpha.value < first.alpha.high


# Side by side


def test_a_choice_is_kept_for_the_text_that_was_chosen_whichever_side_it_stood_on(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", PAIRS)
    with closing(RatingStore(folder.root)) as store:
        pages = ReviewPages(folder, store)
        browser = client(pages)
        sides = Counter()
        for rater in ("anna", "ben"):
            for place, item in enumerate(folder.order(rater), start=1):
                address = f"{base(pages, rater)}item/{place}"
                text = html.unescape(browser.get(address).text)
                wanted = max(item.answers)
                shown_first = text.index(f">{wanted}") < text.index(f">{min(item.answers)}")
                sides[shown_first] += 1
                letter = FIRST if shown_first else SECOND
                send(browser, address, {"kinder": letter, "more_correct": SAME})
                rating = store.of(rater)[item.id]
                assert item.answers[(FIRST, SECOND).index(rating.answers["kinder"])] == wanted
                assert rating.answers["more_correct"] == SAME
                again = browser.get(address).text  # shown as it was chosen
                assert re.search(rf'name="kinder" value="{letter}"[^>]* checked', again)
    assert min(sides.values()) >= 4  # of 20


def test_sides_differ_between_raters_and_items(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", PAIRS)
    drawn = [[folder.sides(rater, item) for item in folder.items] for rater in ("anna", "ben")]
    assert drawn[0] != drawn[1]
    assert len(set(drawn[0])) == len(set(drawn[1])) == 2


def test_preferences_by_hand_name_the_arm_and_leave_controls_and_repeats_out(run, tmp_path):
    folder = packing.pack([run], tmp_path / "r", PAIRS)
    with closing(RatingStore(folder.root)) as store:
        for rater in ("anna", "ben"):
            for item in folder.items:
                key = folder.key[item.id]
                tuned = FIRST if key.arms[:1] == ("cycle-1/kto",) else SECOND
                choice = key.expected.get("kinder") or (tuned if rater == "anna" else SAME)
                store.rate(Rating(rater, item.id, {"kinder": choice, "more_correct": choice}))
        measures = results.preferences(folder, store.all())
        assert list(measures) == ["cycle-1/kto"]
        kinder = measures["cycle-1/kto"][0]
        assert (kinder.name, kinder.value, kinder.n) == ("kinder", 0.75, 12)
        assert [row.controls.value for row in results.progress(folder, store.all())] == [1.0, 1.0]
        results.lock(folder, store, incomplete=False)
        (choices,) = unblinding.unblind(folder, store)
    rows = table(choices)
    assert Counter(row["kinder"] for row in rows) == {"cycle-1/kto": 6, "same": 6}


def test_two_runs_are_compared_on_the_prompts_that_both_answered(run, tmp_path):
    prompts = [ask(f"How long does a plaster stay on, number {n}?", 0, f"h{n}") for n in (0, 1, 77)]
    other = write_run(tmp_path / "other", prompts, [("Yes.", ACCEPT)] * 3, [("Ten days.", CAUTION)] * 3)
    folder = packing.pack([run, other], tmp_path / "r", replace(PAIRS, controls=0, repeats=0))
    assert len(folder.items) == 2
    assert {arm for row in folder.key.values() for arm in row.arms} == {"clinic: cycle-1/kto", "other: cycle-1/kto"}


def test_pairs_of_a_comfort_run_come_back_as_the_packs_that_it_reads(tmp_path):
    root = tmp_path / "comfort"
    pairs = [{"id": f"b2-{n}", "question": f"Why {n}?", "a": f"Kind {n}.", "b": f"Cold {n}."} for n in range(4)]
    blank = {"kinder": None, "more_correct": None, "note": ""}
    write_jsonl(root / "ab" / "pack.jsonl", [row | blank for row in pairs])
    write_jsonl(root / "ab" / "key.jsonl", [{"id": row["id"], "a": "kto", "b": "target"} for row in pairs])
    folder = packing.pack([root], tmp_path / "r", replace(PAIRS, controls=1, repeats=0))
    with closing(RatingStore(folder.root)) as store:
        for rater in ("anna", "ben"):
            for item in folder.items:
                kind = FIRST if item.answers[0].startswith("Kind") else SECOND
                store.rate(Rating(rater, item.id, {"kinder": kind, "more_correct": SAME}))
        results.lock(folder, store, incomplete=False)
        _, *packs = unblinding.unblind(folder, store)
    for pack in packs:
        pack.rename(root / "ab" / pack.name)
    asked = [human_ab.AnswerPair(row["id"], ("kto", "target"), ()) for row in pairs]
    choices = human_ab.read_choices(root, asked)
    assert Counter((c.person, c.kinder, c.more_correct) for c in choices) == {
        ("pack-anna", "a", "same"): 4, ("pack-ben", "a", "same"): 4,
    }  # fmt: skip
