"""What `bedside select` adds to the candidates: bounds, feasible winners, comparisons, advice in words."""

import io
from dataclasses import replace

from rich.console import Console
from tests.support.report_pages import TARGET, shipping

from bedside.alignment import single_stage
from bedside.cli import terminal
from bedside.core.gates import GateState
from bedside.core.measures import Measure
from bedside.safety import selection


def test_constraints_are_decided_by_the_bounds_of_each_candidate():
    gates = shipping().gates
    clean = (Measure("err", 0.0, 100, 0, 0.0, 0.03, worst=0.0, worst_low=0.0, worst_high=0.03),)
    unsure = (Measure("err", 0.1, 20, 0, 0.02, 0.3, worst=0.1, worst_low=0.02, worst_high=0.28),)
    told = [selection.constraints_on_valid(gates, replace(TARGET, measures=measures)) for measures in (clean, unsure)]
    assert [[g.name for g in some] for some in told] == [["err"], ["err"]]
    assert [some[0].state for some in told] == [GateState.PASS, GateState.INCONCLUSIVE]
    assert not selection.constraints_on_valid(gates, replace(TARGET, measures=()))


def test_winners_among_the_feasible_leave_the_others_out():
    candidates = shipping().candidates
    infeasible = [replace(c, feasible=False) for c in candidates]
    assert single_stage.feasible_winners(infeasible) == ()
    one = [*infeasible[:-1], replace(candidates[-1], feasible=True)]
    assert {segment.winner for segment in single_stage.feasible_winners(one)} == {candidates[-1].name}


def test_json_and_table_say_bounds_comparisons_and_advice():
    told = shipping()
    found = single_stage.Selection(told).as_json()
    assert set(found["constraints"]) == {c.name for c in told.candidates}
    assert all(name.startswith("overall >") for name in found["comparisons"])
    assert set(found["advice"]) == {"0.4", "0.6", "0.8"}
    console = Console(file=io.StringIO(), width=200)
    terminal.print_selection(console, told)
    text = console.file.getvalue()
    assert "this is advice" in text
    assert "by bounds on valid" in text
