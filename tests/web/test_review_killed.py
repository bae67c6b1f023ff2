"""A server that is killed loses no rating whose sender had an answer."""

import csv
import json
import os
import random
import re
import signal
import urllib.error
import urllib.parse
import urllib.request

import pytest
from tests.support.finished_run import small_run
from tests.support.paths import ROOT, SUPPORT
from tests.support.processes import run_python
from tests.support.review_server import served

import bedside
from bedside.web import study
from bedside.web.links import RATER, Links

pytestmark = pytest.mark.slow
FEWER = {"sample": 8, "controls": 2, "repeats": 2}


def read(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def send(address, stance):
    """Returns once the server has answered."""
    token = re.search(r'data-rating>\s*<input type="hidden" name="token" value="([^"]+)"', read(address))[1]
    form = urllib.parse.urlencode(
        {"token": token, "action": "rate", "stance": stance, "note": f"{stance} at {address}"}
    )
    with urllib.request.urlopen(address, form.encode(), timeout=30) as answer:
        assert answer.status == 200


def test_killed_between_two_keys_it_has_every_rating_that_was_sent(tmp_path):
    small_run(tmp_path / "runs" / "clinic")
    bedside.pack_review(tmp_path / "runs" / "clinic", tmp_path / "review", ["anna", "ben"], "expert-100", FEWER)
    for killed in range(3):
        with served("review", "serve", "review", cwd=tmp_path) as (process, links):
            assert read(links["anna"]).count(f"{3 * killed} of 12 done") >= 1
            for place in range(3 * killed + 1, 3 * killed + 4):
                send(f"{links['anna']}item/{place}", "caution")
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
    progress = {row.rater: row.rated for row in bedside.review_agreement(tmp_path / "review").progress}
    assert progress == {"anna": 9, "ben": 0}
    bedside.lock_review(tmp_path / "review", incomplete=True)
    bedside.unblind_review(tmp_path / "review")
    assert (tmp_path / "review" / "ratings.csv").read_text(encoding="utf-8").count("caution at http") >= 6


def test_ctrl_c_ends_it_without_a_word_and_it_answers_no_other_host(tmp_path):
    small_run(tmp_path / "runs" / "clinic")
    with served("view", "clinic", "--no-browser", cwd=tmp_path) as (process, links):
        assert "How long does a plaster stay on" in read(links["rows"])
        forged = urllib.request.Request(links["rows"], headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(forged, timeout=30)
        assert refused.value.code == 421
        refused.value.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")


# Every other verb of a review, killed before a change that it makes to a file

PACK = ("pack", "clinic", "--rater", "anna", "--rater", "ben", "--preset", "expert-100", "--sample", "8")
CHAIN = {
    "pack": PACK,
    "import": ("import", "review", "answers-anna.json", "answers-ben.json"),
    "export": ("export", "review"),
    "lock": ("lock", "review"),
    "unblind": ("unblind", "review"),
}
"""In this order."""


def killed_at(root, at, words):
    """Exit code, and how many changes there were: killed before change ``at`` unless that is 0."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    done = run_python(SUPPORT / "killed_verb.py", root, at, "review", *words, cwd=root, env=env)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode, int(done.stderr.rpartition("changes ")[2] or 0)


def send_answers(root):
    """What both raters send back, the second of them once more than is needed."""
    folder = study.read(root / "review")
    for rater in folder.study.raters:
        rows = [{"item": item.id, "action": "rate", "stance": "caution", "harm": "1"} for item in folder.order(rater)]
        content = {"review": Links(folder.secret).path(RATER, rater).strip("/"), "rater": rater, "ratings": rows}
        (root / f"answers-{rater}.json").write_text(json.dumps(content))


def whole_chain(root, changes=None, seed=1):
    """Each verb in its turn. With the ``changes`` that each makes it is killed twice first; also how often it was."""
    small_run(root / "runs" / "clinic")
    draw, killed, made = random.Random(seed), 0, {}
    for name, words in CHAIN.items():
        if name == "import":
            send_answers(root)
        for _ in range(2 if changes else 0):
            killed += killed_at(root, draw.randint(1, max(1, changes[name] // 2)), words)[0] == -signal.SIGKILL
        made[name] = killed_at(root, 0, words)[1]
    return made, killed


def outcome(root):
    """Files that do not depend on the time or on the secret of the links."""
    kept = ("review.json", "items.jsonl", "key.jsonl", "labels.plan.json", "labels.csv", "ratings.csv")
    return {name: (root / "review" / name).read_bytes() for name in kept}


def test_every_verb_of_a_review_may_be_killed_and_ends_with_the_same_files(tmp_path):
    (tmp_path / "calm").mkdir()
    changes, _ = whole_chain(tmp_path / "calm")
    (tmp_path / "killed").mkdir()
    assert whole_chain(tmp_path / "killed", changes)[1] >= 8
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "calm")
    with (tmp_path / "killed" / "review" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"caution"}
    assert not list((tmp_path / "killed" / "review").glob(".*.draft"))
