"""A server that is killed loses no rating whose sender had an answer."""

import re
import signal
import urllib.error
import urllib.parse
import urllib.request

import pytest
from tests.support.finished_run import small_run
from tests.support.review_server import served

import bedside

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
