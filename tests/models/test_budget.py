"""A limit is kept whatever is in flight, and a resumed run goes on counting."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.core.errors import DataError, StageError
from bedside.models.budget import Budget, Price, Spend, Usage
from bedside.run.events import EventLog


def usage(tokens_in, tokens_out=0, usd=None):
    return Usage("host model", tokens_in, tokens_out, usd)


def test_a_price_by_hand():
    assert Price(3.0, 15.0).usd(1_000_000, 200_000) == 6.0
    assert Price(None, 15.0).usd(1, 1) is None
    assert Price(0, 0).usd(10, 10) == 0


def test_a_call_waits_while_others_are_in_flight_and_stops_when_none_is():
    budget = Budget(max_tokens=100)
    first, second = usage(80), usage(30)
    assert budget.reserve(first) == 1
    assert budget.reserve(second) is None, "wait: the first may turn out cheaper"
    budget.settle(1, usage(20), "stop")
    assert budget.reserve(second) == 2
    budget.settle(2, usage(0, 0, 0.0), "status 500")
    with pytest.raises(StageError, match="budget.max_tokens is 100: 20 are spent, the next call may take 90"):
        budget.reserve(usage(90))


def test_money_is_kept_like_tokens():
    budget = Budget(max_usd=1.0)
    budget.settle(budget.reserve(usage(1, 1, 0.9)), None, "no answer")
    with pytest.raises(StageError, match=r"budget.max_usd is 1.0: 0.9000 are spent, the next call may take 0.2000"):
        budget.reserve(usage(1, 1, 0.2))


def test_a_resumed_run_goes_on_counting_and_half_a_line_is_dropped(tmp_path):
    file = tmp_path / "run" / "spend.jsonl"
    budget = Budget(max_tokens=100, file=file)
    for _ in range(3):
        budget.settle(budget.reserve(usage(20, 5)), usage(10, 2, 0.5), "stop")
    budget.settle(budget.reserve(usage(20, 5)), None, "no answer within 60 s")
    with file.open("a") as out:
        out.write('{"at": "host mo')
    again = Budget(max_tokens=100, file=file)
    assert again.spent == budget.spent == {"host model": Spend(4, 50, 11, 1.5, 1)}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["counted"] for row in rows if row["outcome"] != "sent"] == ["usage"] * 3 + ["most"]
    again.settle(again.reserve(usage(1)), None, "stop")
    assert len(file.read_text().splitlines()) == 10


def test_a_call_is_on_disk_before_it_is_sent_and_counts_at_its_maximum_after_a_kill(tmp_path):
    file = tmp_path / "spend.jsonl"
    budget = Budget(file=file)
    budget.settle(budget.reserve(usage(20, 5)), usage(10, 2), "ended")
    budget.reserve(usage(30, 4))  # the process is killed here
    resumed = Budget(file=file)
    assert resumed.spent == {"host model": Spend(2, 40, 6, 0.0, 2)}
    assert resumed.reserve(usage(1)) == 3


@pytest.mark.parametrize("line", ["{}", "[1]", "nothing", '{"call": 1, "at": "host"}'])
def test_a_damaged_file_is_named(tmp_path, line):
    file = tmp_path / "spend.jsonl"
    Budget(file=file).reserve(usage(1))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"spend.jsonl, line 2: is not what was written.*restore the file"):
        Budget(file=file)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [*lines[:1], lines[1].replace('"tokens_in": 10', '"tokens_in": 11'), *lines[2:]], 2),
        (lambda lines: lines[:-1], 4),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], 4),
        (lambda lines: [], 1),
    ],
    ids=["a number changed", "last line removed", "end cut off", "all removed"],
)
def test_what_was_spent_cannot_be_changed_nor_cut_off(tmp_path, change, line):
    file, log = tmp_path / "spend.jsonl", EventLog(tmp_path)
    budget = Budget(file=file)
    for _ in range(2):
        budget.settle(budget.reserve(usage(20, 5)), usage(10, 2), "ended")
    log.append("done")
    whole = file.read_text()
    file.write_text("".join(change(whole.splitlines(keepends=True))))
    for _ in range(2):
        with pytest.raises(DataError, match=f"spend.jsonl, line {line}: is not what was written.*restore the file"):
            Budget(file=file)
        log.append("start")  # what another command writes does not hide it
    file.write_text(whole)
    assert Budget(file=file).spent == budget.spent


def test_a_spend_file_that_was_removed_counts_from_0_and_calls_after_the_last_event_count(tmp_path):
    file, log = tmp_path / "spend.jsonl", EventLog(tmp_path)
    budget = Budget(file=file)
    for _ in range(2):
        budget.settle(budget.reserve(usage(20, 5)), usage(10, 2), "ended")
    log.append("done")
    file.unlink()
    again = Budget(file=file)
    again.reserve(usage(30, 4))  # the process is killed here, before any event
    assert Budget(file=file).spent == {"host model": Spend(1, 30, 4, 0.0, 1)}


def test_a_spent_says_what_it_does_not_know():
    assert str(Spend(2, 30, 4, 0.5)) == "2 calls, 30 tokens in, 4 out, 0.5000 US dollars"
    assert "at no known price" in str(Spend(2, 30, 4, 0, 2))
    assert "and 1 calls at no known price" in str(Spend(2, 30, 4, 0.5, 1))
    assert Spend(5, 50, 9, 1.5, 2).minus(Spend(2, 20, 4, 0.5, 2)) == Spend(3, 30, 5, 1.0, 0)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), max_size=60))
def test_no_order_of_calls_passes_the_limit(calls):
    """Each call takes at most what it said; several are in flight at once."""
    budget, flying = Budget(max_tokens=300), []
    for most, share in calls:
        asked = usage(most)
        while not (call := _took(budget, asked)):
            if not flying:
                break
            budget.settle(*flying.pop(0), "stop")
        else:
            flying.append((call, usage(int(most * share))))
        held = sum(b.tokens for b in budget._in_flight.values())
        assert held + sum(s.tokens_in + s.tokens_out for s in budget.spent.values()) <= 300


def _took(budget, asked):
    try:
        return budget.reserve(asked)
    except StageError:
        return None


def test_threads_lose_no_call(tmp_path):
    budget = Budget(file=tmp_path / "spend.jsonl")

    def call():
        for _ in range(200):
            call = None
            while call is None:
                call = budget.reserve(usage(3))
            budget.settle(call, usage(2, 1), "stop")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent["host model"] == Spend(800, 1600, 800, 0.0, 800)
    assert Budget(file=tmp_path / "spend.jsonl").spent == budget.spent
