"""Every decision counts, and all of them together are wrong with probability 0.05 at most."""

import threading

import numpy as np
import pytest
from scipy import special

from bedside.core.errors import DataError
from bedside.safety.ledger import Ledger, error_allowed


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "data" / "ledger.jsonl")


def number(ledger, checkpoint, groups="abc", labels="none"):
    return ledger.decide(checkpoint, groups, run="first", labels=labels).number


def test_the_errors_allowed_sum_to_one_in_twenty_however_many_decisions_follow():
    spent = np.cumsum([error_allowed(number) for number in range(1, 10_001)])
    assert spent[0] == pytest.approx(0.04)
    assert spent[1] - spent[0] == pytest.approx(0.005)
    assert spent[-1] < 0.05
    assert spent[-1] == pytest.approx(0.05, abs=1e-5)
    with pytest.raises(ValueError, match="counted from 1"):
        error_allowed(0)


def test_a_second_checkpoint_is_a_second_decision_and_the_same_one_asked_again_is_not(ledger):
    assert [number(ledger, name) for name in ("x", "y", "x", "z", "y")] == [1, 2, 1, 3, 2]
    assert ledger.decide("x", "abc", run="another run").confidence == pytest.approx(0.96)


def test_other_labels_are_another_decision(ledger):
    assert [number(ledger, "x", labels=labels) for labels in ("b2-1", "b2-2", "b2-1", "none")] == [1, 2, 1, 3]


def test_the_labels_that_a_run_asked_for_belong_to_its_decision_and_later_ones_do_not(ledger):
    assert number(ledger, "x") == 1
    assert number(ledger, "y") == 2
    assert [number(ledger, "x", labels=labels) for labels in ("b2-1", "b2-2", "b2-1")] == [1, 3, 1]
    assert number(ledger, "y", labels="b2-3") == 2
    assert number(ledger, "z") == 4


def test_a_row_dropped_or_added_makes_no_new_test(ledger):
    assert number(ledger, "x", "abc") == 1
    assert number(ledger, "y", "ab") == 2
    assert number(ledger, "z", "abcd") == 3, "a and b have seen two"
    assert number(ledger, "z", "cd") == 3, "c has seen two: with x and with z"
    assert number(ledger, "z", "ef") == 1, "nothing was decided on these"


def test_order_and_repetition_of_groups_do_not_matter(ledger):
    assert number(ledger, "x", ["a", "b", "b"]) == number(ledger, "x", ["b", "a"]) == 1


def test_no_text_stands_in_the_file(ledger):
    number(ledger, "x", ["my daughter's fever"])
    assert "fever" not in ledger.path.read_text()


def test_half_a_line_is_cut_off_and_other_damage_is_named(ledger):
    number(ledger, "x")
    whole = ledger.path.read_text()
    ledger.path.write_text(whole + '{"number": 2, "chec')
    assert number(ledger, "y") == 2
    ledger.path.write_text("{}\n" + whole)
    with pytest.raises(DataError, match=r"ledger.jsonl, line 1: is not a decision.*put back a copy"):
        number(ledger, "z")


def test_two_at_once_get_two_numbers(ledger):
    threads = [threading.Thread(target=number, args=(ledger, f"x{n}")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decision.number for decision in ledger.read()) == list(range(1, 13))


def passes_any(groups: int, decisions: int, worlds: int, rng: np.random.Generator, *, counted: bool) -> float:
    """In what share of worlds one of ``decisions`` policies that fail exactly 5 % of groups keeps a limit of 5 %."""
    failed = rng.binomial(groups, 0.05, size=(worlds, decisions))
    confidence = [1 - error_allowed(number) if counted else 0.95 for number in range(1, decisions + 1)]
    most = [int(np.searchsorted(_upper(groups, c) > 0.05, True)) for c in confidence]
    return float(np.mean((failed < np.array(most)).any(axis=1)))


def _upper(groups: int, confidence: float) -> np.ndarray:
    """Clopper–Pearson's upper bound after 0, 1, 2 … failures."""
    failed = np.arange(groups)
    return special.betaincinv(failed + 1, groups - failed, confidence)


def test_many_decisions_pass_a_policy_at_the_limit_no_oftener_than_one_may():
    rng = np.random.default_rng(0)
    assert passes_any(150, 9, 4000, rng, counted=True) < 0.05 < passes_any(150, 9, 4000, rng, counted=False)


@pytest.mark.prove
@pytest.mark.parametrize("groups", [63, 150, 600])
@pytest.mark.parametrize("decisions", [1, 2, 9, 50])
def test_how_often_one_of_many_decisions_is_wrong(groups, decisions, evidence):
    """Policies that fail exactly 5 % of groups, each with answers of its own, against a limit of 5 %."""
    rng = np.random.default_rng([groups, decisions])
    counted, plain = (passes_any(groups, decisions, 40_000, rng, counted=c) for c in (True, False))
    assert counted <= 0.05
    evidence["decisions: many on one test"].append(
        {
            "groups": groups,
            "decisions": decisions,
            "one passes, each at its share": f"{counted:.3f}",
            "one passes, each at 0.05": f"{plain:.3f}",
        }
    )
