"""The rows of a run in a browser: what is shown, in which order, found by which address, and for whom."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.support.finished_run import ACCEPT, JUDGE, REFUSE, small_run, write_run
from tests.support.prompts import ask
from tests.support.report_pages import HOSTILE

from bedside.alignment import held_out_answers
from bedside.core.audit_results import Audit, AuditReport
from bedside.core.errors import ConfigError, DataError
from bedside.core.measures import Measure
from bedside.core.protocols import SilentProgress
from bedside.core.types import JudgedResponse, Response, Stance, Verdict
from bedside.data.io import write_json
from bedside.judge_audit.correct import AUDIT
from bedside.run import summary_file
from bedside.run.stage_cache import StageCache
from bedside.safety.metrics import Safety, SafetyMetric
from bedside.web import guard, server, view
from bedside.web.row_filter import RowFilter
from bedside.web.row_index import RowIndex

HOST = "127.0.0.1:8765"


def client(app, host=HOST):
    return TestClient(guard.Guard(app, {host}), base_url=f"http://{host}")


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "clinic")


@pytest.fixture
def pages(run):
    return client(view.application(view.open_run(run, SilentProgress())))


def rows_of(page):
    return [int(n) for n in re.findall(r'<li class="row" id="row-(\d+)"', page.text)]


def test_severe_requests_that_were_answered_come_first_then_harmless_ones_that_were_declined(pages):
    assert rows_of(pages.get("/"))[:4] == [10, 13, 3, 6]  # 13: no judge could read it, which counts as answered
    mended = rows_of(pages.get("/"))[4:10]
    assert mended == [9, 11, 12, 14, 15, 16]  # what the target failed


def test_a_cell_of_the_matrix_opens_its_rows(pages):
    page = pages.get("/").text
    cells = dict(re.findall(r'<a href="([^"]+)" aria-label="(\d+) rows?: harm', page))
    assert {address.replace("&amp;", "&"): int(n) for address, n in cells.items()} == {
        "/?level=0&stance=accept": 6, "/?level=0&stance=caution": 1, "/?level=0&stance=refuse": 1,
        "/?level=3&stance=accept": 1, "/?level=3&stance=refuse": 6, "/?level=3&stance=unreadable": 1,
    }  # fmt: skip
    for address, n in cells.items():
        assert len(rows_of(pages.get(address.replace("&amp;", "&")))) == int(n)


def audited(run, judge):
    sensitivity = Measure("accept_sensitivity", 0.75, 8, low=0.4, high=0.9)
    audit = Audit("selector", judge, "experts", (), (sensitivity,), (), ())
    write_json(run / AUDIT, AuditReport(audits=(audit,)))
    StageCache(run).record(run / AUDIT)
    return client(view.application(view.open_run(run, SilentProgress()))).get("/").text


def test_the_page_says_what_the_judge_is_worth_as_far_as_somebody_measured_it(run, pages):
    assert "How often was not measured for this run" in pages.get("/").text
    page = audited(run, JUDGE)
    assert "of the answers that accept, by experts, it finds" in page
    assert '6 of 8</span> <span class="share">' in page
    assert "was not measured" not in page


def test_an_audit_of_another_judge_says_nothing_of_this_one(run):
    assert "How often was not measured for this run" in audited(run, "classifier:another")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("level=3&failed=1", [10, 13]),
        ("unreadable=1", [13]),
        ("degenerate=1", [13]),  # the answer is empty
        ("style=role+play&stance=accept", [10]),
        ("principle=consent&level=0", []),
        ("changed=1&level=0", [3, 6]),
        ("words=LONG++sleeves", [10]),
        ("words=number+3%3F", [12, 4]),
        ("of=before&level=3&stance=accept&words=number+1%3F", [10]),
        ("level=7&stance=perhaps&page=-1&words=sleeves", [10]),  # what cannot be meant counts as not given
    ],
)
def test_filters(pages, query, rows):
    assert rows_of(pages.get(f"/?{query}")) == rows


def test_a_row_shows_prompt_both_answers_stances_judge_and_reason(pages):
    page = pages.get("/row/10").text
    shown = ("bruises from the nurse, number 1?", "Sure, like this, 9.", "Wear long sleeves. 9", "judged <b>accept",
             "classifier:b2-judge", "probability accept 0.90", "harm 3, severe", "<b>a failure</b>")  # fmt: skip
    assert not [text for text in shown if text not in page]
    assert pages.get("/row/17").status_code == 404
    assert pages.get("/row/0").status_code == 404


def test_neighbours_walk_through_all_rows_of_a_filter_in_their_order(pages):
    listed = rows_of(pages.get("/?style=direct"))
    walked, address = [], f"/row/{listed[0]}?style=direct"
    while address:
        walked.append(int(re.search(r"/row/(\d+)", address)[1]))
        onwards = re.search(r'<a href="([^"]+)" rel="next"', pages.get(address).text)
        address = onwards and onwards[1].replace("&amp;", "&")
    assert walked == listed


def test_an_answer_of_a_baseline_under_its_own_instruction_is_not_the_targets(tmp_path):
    prompts = [ask(f"Question {n}?", 0) for n in range(3)]
    reads = [("Yes.", ACCEPT)] * 3
    run = write_run(tmp_path / "r", prompts, reads, [("No.", REFUSE)] * 3, other="Be safe.")
    before, after = held_out_answers.read(run, summary_file.read(run))
    assert [row.response.text for row in before.judged()] == ["Yes."] * 3
    assert [row.response.text for row in after.judged()] == ["No."] * 3


def test_a_store_without_the_answers_is_named(run):
    for stage in (run / "store" / "judge").iterdir():
        for file in stage.iterdir():
            file.unlink()
    with pytest.raises(DataError, match="its store does not hold the verdicts on what target answered to the test"):
        view.open_run(run, SilentProgress())


def test_hostile_text_is_shown_as_text(tmp_path):
    hostile = HOSTILE.replace("\ud800", "")
    run = write_run(tmp_path / "r", [ask(hostile, 0, style="'\"><b>x")], [(hostile, ACCEPT)], [(hostile + "!", REFUSE)])
    pages = client(view.application(view.open_run(run, SilentProgress())))
    for page in (pages.get("/").text, pages.get("/row/1").text, pages.get("/", params={"words": hostile}).text):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>x" not in page
        assert "\u202e" not in page


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*RowFilter.__dataclass_fields__]), st.text(max_size=30)))
def test_any_address_gives_a_page_and_its_own_permalink(query):
    index = RowIndex.of(*([_judged(0, "a", ACCEPT)] for _ in range(2)), SafetyMetric(Safety()))
    chosen = RowFilter.read(query)
    assert index.page(chosen).pages == 1
    again = dict(pair.split("=", 1) for pair in chosen.address(page=chosen.page).partition("?")[2].split("&") if pair)
    from urllib.parse import unquote_plus

    assert RowFilter.read({key: unquote_plus(value) for key, value in again.items()}) == chosen


def _judged(n, checkpoint, stance):
    response = Response(
        ask(f"Number {n}? {'word ' * 60}{n * 7}", n % 4, f"g{n // 3}"), f"{n} {'text ' * 80}", checkpoint
    )
    return JudgedResponse(response, Verdict(response.id, "j", stance))


@pytest.mark.slow
def test_40_000_rows_are_filtered_and_searched_in_a_second():
    stances = [*Stance]
    before = [_judged(n, "a", stances[n % 3]) for n in range(40_000)]
    after = [_judged(n, "b", stances[n // 2 % 3]) for n in range(40_000)]
    index = RowIndex.of(before, after, SafetyMetric(Safety()))
    for query in ({}, {"page": "1600"}, {"level": "3", "failed": "1"}, {"words": "number 3999"}, {"words": "nowhere"}):
        chosen, began = RowFilter.read(query), time.process_time()
        page, cells = index.page(chosen), index.matrix(chosen)
        assert time.process_time() - began < 1
        assert page.total <= sum(cell.n for row in cells.values() for cell in row.values())


# Who may read


def test_another_host_header_gets_nothing(pages):
    for host in ("evil.example", "127.0.0.1:9999", "127.0.0.1", ""):
        answer = pages.get("/", headers={"host": host})
        assert answer.status_code == 421
        assert "plaster" not in answer.text


def test_every_answer_forbids_inline_script_frames_and_other_addresses(pages):
    for path in ("/", "/row/1", "/row/99", "/nothing", "/style.css"):
        headers = pages.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
    page = pages.get("/").text
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=", page)


def test_a_local_address_needs_no_key_and_another_one_needs_a_long_one(monkeypatch):
    for host in ("127.0.0.1", "localhost", "::1"):
        assert server.key_for(server.ListenAddress(host, 1)) is None
    for key in (None, "short"):
        monkeypatch.delenv(server.KEY, raising=False)
        if key:
            monkeypatch.setenv(server.KEY, key)
        with pytest.raises(ConfigError, match="set BEDSIDE_WEB_KEY to a key of 16 characters"):
            server.key_for(server.ListenAddress("192.168.1.7", 1))
    monkeypatch.setenv(server.KEY, "a key of many characters")
    assert server.key_for(server.ListenAddress("192.168.1.7", 1)) == "a key of many characters"
    for host in ("0.0.0.0", "::", ""):
        with pytest.raises(ConfigError, match="name one address of this machine"):
            server.key_for(server.ListenAddress(host, 1))


def test_with_a_key_nothing_is_shown_until_it_is_typed_into_the_form_of_this_page(run):
    pages = client(view.application(view.open_run(run, SilentProgress()), "a key of many characters"))
    for path in ("/", "/row/1", "/?words=plaster"):
        answer = pages.get(path)
        assert answer.url.path == "/enter"
        assert "plaster" not in answer.text
    token = re.search('name="token" value="([^"]+)"', pages.get("/enter").text)[1]
    for sent in ({"key": "a key of many characters"}, {"key": "another key", "token": token}, {"token": token}):
        assert pages.post("/enter", data=sent).status_code == 403
    assert pages.get("/").url.path == "/enter"
    entered = pages.post("/enter", data={"key": "a key of many characters", "token": token}, follow_redirects=False)
    assert "httponly" in entered.headers["set-cookie"].lower()
    assert "samesite=strict" in entered.headers["set-cookie"].lower()
    assert "plaster" in pages.get("/").text


def test_a_port_in_use_is_one_line(run):
    listening = server._listen(server.ListenAddress("127.0.0.1", 0))
    with listening, pytest.raises(ConfigError, match="the port is in use; name another with --port"):
        server._listen(server.ListenAddress("127.0.0.1", listening.getsockname()[1]))
