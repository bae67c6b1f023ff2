"""`bedside stopping`: each rule on trajectories whose answer can be seen by hand."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.report_pages import shipping

from bedside.alignment.stopping import replay
from bedside.core.measures import Measure
from bedside.core.results import Candidate, CycleReport
from bedside.core.types import Checkpoint


def candidate(name, overall, feasible=False):
    measure = Measure("overall", overall, 50, 0, max(0, overall - 0.1), min(1, overall + 0.1), overall, groups=40)
    return Candidate(name, Checkpoint("b", name), (measure,), feasible, 0.0 if feasible else 1 - overall)


def run(*cycles, target=0.4, stopped=""):
    """A run whose cycle k has the candidate k with this Overall; (Overall, True) is one that meets every constraint."""
    made, before = [], candidate("target", target)
    for number, given_ in enumerate(cycles, start=1):
        value, feasible = given_ if isinstance(given_, tuple) else (given_, False)
        new = candidate(f"cycle-{number}", value, feasible)
        best = max((before, new), key=lambda c: (c.feasible, c.measure("overall").value))
        made.append(CycleReport(number, (before, new), best.name, "", (), ()))
        before = best
    return replace(shipping(), cycles=(*made[:-1], replace(made[-1], stopped=stopped)))


def results(summary, **options):
    return {result.rule: result for result in replay(summary, **options).rules}


def test_each_rule_by_hand():
    """b: 0.40, 0.60, 0.70, 0.75, 0.755, 0.757. Gains: 0.20, 0.10, 0.05, 0.005, 0.002.

    plateau of 3: after cycle 5 the last three gained 0.057 − still more than 0.01: it does not stop.
    expected gain: after 1 0.10, after 2 0.10 · ½, after 3 0.05 · ½ = 0.025, after 4 0.005 · 0.1 = 0.0005 < 0.01: stops.
    first feasible: cycle 2.
    """
    found = results(run(0.6, (0.7, True), (0.75, True), (0.755, True), (0.757, True)))
    assert {rule: (r.cycle, r.stopped, r.chosen) for rule, r in found.items()} == {
        "best of 5": (5, True, "cycle-5"),
        "plateau of 3": (5, False, "cycle-5"),
        "first feasible": (2, True, "cycle-2"),
        "expected gain below 0.01": (4, True, "cycle-4"),
    }
    assert found["first feasible"].lost == pytest.approx(0.057)
    assert found["expected gain below 0.01"].lost == pytest.approx(0.002)
    assert found["first feasible"].overall.n == 50


def test_a_plateau_stops_after_so_many_cycles_without_a_gain_and_the_best_before_is_chosen():
    found = results(run(0.7, 0.6, 0.65), plateau=2)
    assert (found["plateau of 2"].cycle, found["plateau of 2"].chosen) == (3, "cycle-1")
    assert found["plateau of 2"].lost == 0


def test_a_rule_that_would_have_gone_on_has_no_answer():
    found = results(run(0.5, 0.6, stopped="the judge agreed too little"))
    assert not found["best of 5"].stopped
    assert (found["first feasible"].stopped, found["first feasible"].cycle) == (False, 2)
    assert "It ended: the judge agreed too little." in replay(run(0.5, stopped="the judge agreed too little")).caption()


def test_best_of_n_may_have_fewer_cycles_than_the_run():
    found = results(run(0.5, 0.6, 0.7), most=2)
    assert (found["best of 2"].cycle, found["best of 2"].chosen) == (2, "cycle-2")
    assert found["best of 2"].lost == pytest.approx(0.1)


def test_a_feasible_candidate_is_chosen_before_a_better_one_that_misses_a_limit():
    found = results(run((0.55, True), 0.9))
    assert found["best of 5"].chosen == "cycle-1"
    assert replay(run((0.55, True), 0.9)).best_so_far == (0.4, 0.55, 0.55)


@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=6))
def test_no_rule_stops_after_the_run_or_chooses_what_it_had_not_seen(values):
    summary = run(*values)
    report = replay(summary)
    for result in report.rules:
        assert 1 <= result.cycle <= len(values)
        assert result.stopped or result.cycle == len(values)
        seen = ["target", *(f"cycle-{k}" for k in range(1, result.cycle + 1))]
        assert result.chosen in seen
        assert result.lost >= -1e-9
    json.dumps(report.as_json())
    assert len(report.records()) == 4
