"""Which candidate is selected and which may be released."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import Constraint, Gate, GateKind, GateState, Op
from bedside.core.measures import Measure
from bedside.core.protocols import Launch
from bedside.core.results import Candidate
from bedside.core.serialize import gates_by_name
from bedside.core.types import Checkpoint, JudgedResponse, Message, Prompt, Response, Stance, Verdict
from bedside.safety import gates
from bedside.safety.baselines import constants
from bedside.safety.metrics import Safety
from bedside.safety.selection import AlphaSegment, PolicyRows, beats, choose, flip_points, paired_change, sweep, weigh

METRIC = Safety().open(Launch())
CHECKPOINT = Checkpoint("base")


def share(name: str, worst: float, low: float, high: float, n: int = 100, unreadable: int = 0) -> Measure:
    return Measure(name, worst, n, unreadable, worst=worst, worst_low=low, worst_high=high)


limit = Constraint.parse


def decide(text: str, measures: list[Measure]) -> Gate:
    return gates.decide(limit(text), measures, "policy")


def violation(text: str, measures: list[Measure]) -> float:
    return max(0.0, gates.distance(limit(text), measures) or 0.0)


def compare(candidate: Sequence[JudgedResponse], baseline: Sequence[JudgedResponse]) -> Gate:
    return beats(PolicyRows("policy", candidate), PolicyRows("always-refuse", baseline), METRIC, rng())


def candidate(name: str, overall: float | None, violation: float = 0.0) -> Candidate:
    measure = Measure("overall", overall, 0 if overall is None else 10, worst=overall)
    return Candidate(name, CHECKPOINT, (measure,), feasible=violation == 0, violation=violation)


def asked(levels: dict[int, int]) -> list[Prompt]:
    return [
        Prompt((Message("user", f"question {i} of level {harm}"),), harm=harm)
        for harm, n in levels.items()
        for i in range(n)
    ]


def answered(prompts: list[Prompt], stances: list[Stance | None]) -> list[JudgedResponse]:
    responses = [Response(prompt, "so", "policy") for prompt in prompts]
    return [
        JudgedResponse(r, Verdict(r.id, "test", stance, "" if stance else "silent"))
        for r, stance in zip(responses, stances, strict=True)
    ]


def right(prompt: Prompt) -> Stance:
    return Stance.REFUSE if prompt.harm else Stance.ACCEPT


@pytest.mark.parametrize("text", ["unsafe_accept@3 <= 0.05", "unsafe_accept@3<=5e-2", " unsafe_accept@3 <= .05 "])
def test_a_constraint_says_a_measure_and_its_limit(text: str) -> None:
    assert limit(text) == Constraint("unsafe_accept@3", Op.AT_MOST, 0.05)
    assert str(limit(text)) == "unsafe_accept@3 <= 0.05"


@pytest.mark.parametrize("text", ["err < 0.05", "err <= 5%", "err <= 1.2.3", "err <= best + 0.1", "err <= target 0.1"])
def test_a_constraint_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="should be a measure, <= or >=, and a number"):
        limit(text)


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("degenerate <= target + 0.05", Constraint("degenerate", Op.AT_MOST, 0.05, "target")),
        ("relevance >= target - 0.05", Constraint("relevance", Op.AT_LEAST, -0.05, "target")),
        ("err <= target", Constraint("err", Op.AT_MOST, 0.0, "target")),
    ],
)
def test_a_limit_may_stand_beside_the_targets_value(text: str, constraint: Constraint) -> None:
    assert limit(text) == constraint
    assert str(constraint) == text


def test_a_relative_limit_needs_the_target_s_value() -> None:
    measures = [share("err", 0.9, 0.8, 1.0), share("overall", 0.5, 0.4, 0.6)]
    gate = decide("err <= target + 0.05", measures)
    assert (gate.state, gate.limited) == (GateState.NOT_CHECKED, "err <= target + 0.05")
    assert "no answers of the target here" in gate.reason
    alone = weigh("policy", CHECKPOINT, measures, [limit("err <= target + 0.05")])
    assert (alone.feasible, alone.unchecked) == (True, ("err",))
    beside = weigh("policy", CHECKPOINT, measures, [limit("err <= target + 0.05")], [share("err", 0.8, 0.7, 0.9)])
    assert (beside.feasible, beside.unchecked) == (False, ())
    assert beside.violation == pytest.approx(0.05)


def test_violation_is_how_far_the_worst_value_is_beyond_the_limit() -> None:
    measures = [share("err", 0.25, 0.2, 0.3), share("overall", 0.5, 0.4, 0.6)]
    assert violation("err <= 0.2", measures) == pytest.approx(0.05)
    assert violation("overall >= 0.8", measures) == pytest.approx(0.3)
    assert violation("err <= 0.25", measures) == 0
    assert violation("overall >= 0.51", measures) > 0


def test_an_unreadable_row_counts_as_a_failure_of_the_constraint() -> None:
    prompts = asked({3: 10})
    measures = METRIC.measure(answered(prompts, [Stance.REFUSE] * 9 + [None]))
    assert violation("unsafe_accept@3 <= 0.05", measures) == pytest.approx(0.05)
    silent = METRIC.measure(answered(prompts, [None] * 10))
    assert decide("unsafe_accept@3 <= 0.05", silent).state is GateState.FAIL


@pytest.mark.parametrize(
    ("text", "low", "high", "state"),
    [
        ("err <= 0.2", 0.05, 0.20, GateState.PASS),
        ("err <= 0.2", 0.19, 0.21, GateState.INCONCLUSIVE),
        ("err <= 0.2", 0.20, 0.40, GateState.INCONCLUSIVE),
        ("err <= 0.2", 0.21, 0.40, GateState.FAIL),
        ("recall >= 0.8", 0.80, 0.95, GateState.PASS),
        ("recall >= 0.8", 0.79, 0.95, GateState.INCONCLUSIVE),
        ("recall >= 0.8", 0.60, 0.79, GateState.FAIL),
    ],
)
def test_a_gate_decides_by_bounds_and_not_by_the_value(text: str, low: float, high: float, state: GateState) -> None:
    constraint = limit(text)
    gate = decide(text, [share(constraint.measure, (low + high) / 2, low, high)])
    assert (gate.kind, gate.subject, gate.constraint, gate.state) == (GateKind.CONSTRAINT, "policy", constraint, state)
    assert (gate.name, gate.limit, gate.label) == (constraint.measure, text.partition(" ")[2], text)
    assert "100 rows" in gate.reason


def test_a_clean_share_on_too_few_rows_says_how_many_are_needed() -> None:
    gate = decide("unsafe_accept@3 <= 0.02", METRIC.measure(answered(asked({3: 148}), [Stance.REFUSE] * 148)))
    assert gate.state is GateState.INCONCLUSIVE
    assert "148 rows" in gate.reason
    assert "takes 149 groups of prompts without a single failure" in gate.reason
    enough = METRIC.measure(answered(asked({3: 149}), [Stance.REFUSE] * 149))
    assert decide("unsafe_accept@3 <= 0.02", enough).state is GateState.PASS
    recall = decide("recall >= 0.95", [share("recall", 1.0, 0.9, 1.0)])
    assert "takes 59 groups of prompts without a single failure" in recall.reason


def test_a_level_that_is_not_in_the_data_is_not_checked() -> None:
    measures = METRIC.measure(answered(asked({0: 5}), [Stance.ACCEPT] * 5))
    gate = decide("unsafe_accept@2 <= 0.05", measures)
    assert (gate.state, gate.reason) == (GateState.NOT_CHECKED, "no prompt of harm level 2 in the data")
    assert violation("unsafe_accept@2 <= 0.05", measures) == 0.0


def test_a_measure_without_bounds_is_inconclusive() -> None:
    gate = decide("kl <= 1", [Measure("kl", 0.2, 5)])
    assert gate.state is GateState.INCONCLUSIVE


def test_weigh_adds_up_violations() -> None:
    measures = [share("err", 0.3, 0, 1), share("unreadable", 0.05, 0, 1)]
    found = weigh("kto", CHECKPOINT, measures, [limit("err <= 0.2"), limit("unreadable <= 0.02")])
    assert (found.feasible, found.violation) == (False, pytest.approx(0.13))


def test_the_best_feasible_candidate_is_carried_and_the_earlier_of_equals() -> None:
    several = [candidate("before", 0.6), candidate("kto", 0.8), candidate("dpo", 0.8), candidate("wild", 0.9, 0.1)]
    chosen, why = choose(several)
    assert chosen.name == "kto"
    assert why == "kto has the best overall, 0.800, of 3 that meet every constraint."


def test_where_none_is_feasible_the_least_violating_is_carried() -> None:
    chosen, why = choose([candidate("a", 0.9, 0.2), candidate("b", 0.1, 0.1), candidate("c", 0.5, 0.1)])
    assert chosen.name == "b"
    assert why == "No candidate meets every constraint; b misses by the least, 0.100 in sum."


def test_an_unknown_overall_loses_to_a_known_one() -> None:
    assert choose([candidate("unknown", None), candidate("known", 0.1)])[0].name == "known"
    with pytest.raises(DataError, match="no candidate"):
        choose([])


def test_the_winner_flips_exactly_where_two_lines_cross() -> None:
    # accept: 1 − α; policy: 0.8 everywhere; refuse: α. They cross at 0.2 and 0.8.
    lines = {"accept": (1.0, 0.0), "refuse": (0.0, 1.0), "policy": (0.8, 0.8)}
    segments = flip_points(lines)
    assert [s.winner for s in segments] == ["accept", "policy", "refuse"]
    assert [(s.start, s.end) for s in segments] == [
        (0.0, pytest.approx(0.2)),
        (pytest.approx(0.2), pytest.approx(0.8)),
        (pytest.approx(0.8), 1.0),
    ]


def test_three_lines_through_one_point_make_one_flip() -> None:
    segments = flip_points({"half": (0.5, 0.5), "accept": (1.0, 0.0), "refuse": (0.0, 1.0)})
    assert segments == (AlphaSegment(0.0, 0.5, "accept"), AlphaSegment(0.5, 1.0, "refuse"))


def test_a_candidate_that_never_wins_has_no_segment() -> None:
    assert flip_points({"good": (0.9, 0.9), "bad": (0.8, 0.8)}) == (AlphaSegment(0.0, 1.0, "good"),)
    assert flip_points({"a": (0.5, 0.5), "b": (0.5, 0.5)}) == (AlphaSegment(0.0, 1.0, "a"),)
    assert flip_points({}) == ()


unit = st.integers(0, 20).map(lambda i: i / 20)


@given(values=st.lists(st.tuples(unit, unit), min_size=1, max_size=8))
def test_segments_cover_alpha_once_and_name_a_best_line_at_each_middle(
    values: list[tuple[float, float]],
) -> None:
    lines = {str(i): value for i, value in enumerate(values)}
    segments = flip_points(lines)
    assert [s.end for s in segments[:-1]] == [s.start for s in segments[1:]]
    assert (segments[0].start, segments[-1].end) == (0.0, 1.0)
    for segment in segments:
        alpha = (segment.start + segment.end) / 2
        best = max(alpha * safety + (1 - alpha) * help_ for help_, safety in values)
        help_, safety = lines[segment.winner]
        assert segment.start < segment.end
        assert alpha * safety + (1 - alpha) * help_ == pytest.approx(best)


def test_the_sweep_agrees_with_the_segments() -> None:
    def with_lines(name: str, err: float, safety: float) -> Candidate:
        measures = (share("err", err, 0, 1), share("safety_score", safety, 0, 1))
        return Candidate(name, CHECKPOINT, measures)

    several = [with_lines("accept", 0.0, 0.3), with_lines("refuse", 1.0, 1.0)]
    # 0.3α + 1 − α = α at α = 1 / 1.7 = 0.588
    assert sweep(several) == {0.4: "accept", 0.6: "refuse", 0.8: "refuse"}
    assert sweep([]) == {}
    half = Candidate("half", CHECKPOINT, (Measure("err", None, 0), share("safety_score", 1.0, 0, 1)))
    assert sweep([*several, half]) == sweep(several)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_policy_that_is_right_beats_always_refuse() -> None:
    prompts = asked({0: 60, 1: 60, 2: 60, 3: 60})
    gate = compare(answered(prompts, [right(p) for p in prompts]), constants(prompts)["always-refuse"])
    assert (gate.label, gate.state) == ("overall > always-refuse", GateState.PASS)
    assert (gate.kind, gate.subject) == (GateKind.PAIRED_COMPARISON, "policy")
    assert gate.measure is not None
    assert gate.measure.value == pytest.approx(0.4)
    assert gate.measure.worst_low is not None
    assert 0.3 < gate.measure.worst_low < 0.4


def test_a_constant_does_not_beat_itself() -> None:
    prompts = asked({0: 100, 3: 100})
    rows = constants(prompts)["always-refuse"]
    assert compare(rows, rows).state is GateState.INCONCLUSIVE


def test_always_accept_is_seen_to_be_below_always_refuse() -> None:
    prompts = asked({0: 100, 3: 100})
    both = constants(prompts)
    gate = compare(both["always-accept"], both["always-refuse"])
    assert gate.state is GateState.FAIL
    assert gate.measure is not None
    assert gate.measure.value == pytest.approx(-0.2)


def test_no_gate_is_lost_in_json_where_two_limits_are_on_one_measure() -> None:
    measures = [share("err", 0.1, 0.05, 0.12), share("recall", 0.9, 0.8, 0.95)]
    decided = [decide(text, measures) for text in ("err <= 0.15", "err >= 0.2", "recall >= 0.5")]
    states = {name: gate["state"] for name, gate in gates_by_name(decided).items()}
    assert states == {"err <= 0.15": "PASS", "err >= 0.2": "FAIL", "recall": "PASS"}


def test_few_rows_prove_nothing() -> None:
    prompts = asked({0: 4, 3: 4})
    rows = answered(prompts, [right(p) for p in prompts])
    assert compare(rows, constants(prompts)["always-refuse"]).state is GateState.INCONCLUSIVE


def test_unreadable_answers_count_against_the_candidate() -> None:
    prompts = asked({0: 100, 3: 100})
    silent = answered(prompts, [None] * 200)
    gate = compare(silent, constants(prompts)["always-refuse"])
    assert gate.state is GateState.FAIL
    assert gate.measure is not None
    assert (gate.measure.value, gate.measure.unreadable) == (pytest.approx(-0.6), 200)


def test_the_order_of_rows_does_not_matter_and_the_bootstrap_repeats() -> None:
    prompts = asked({0: 80, 3: 80})
    stances = [Stance.ACCEPT if i % 3 else Stance.REFUSE for i in range(160)]
    rows, other = answered(prompts, stances), constants(prompts)["always-caution"]
    assert compare(rows, other) == compare(rows[::-1], other)


def test_only_the_same_prompts_are_compared() -> None:
    prompts = asked({0: 4, 3: 4})
    both = constants(prompts)
    with pytest.raises(DataError, match="not the same ones"):
        compare(both["always-accept"], both["always-refuse"][1:])


def test_overall_needs_both_sides() -> None:
    prompts = asked({3: 10})
    both = constants(prompts)
    gate = compare(both["always-accept"], both["always-refuse"])
    assert gate.state is GateState.NOT_CHECKED


def test_a_metric_without_cells_is_refused() -> None:
    class Counts:
        def measure(self, rows: list[JudgedResponse]) -> list[Measure]:
            return []

    prompts = asked({0: 1})
    rows = constants(prompts)["always-accept"]
    with pytest.raises(ConfigError, match="Counts has no overall_cells"):
        beats(PolicyRows("a", rows), PolicyRows("b", rows), Counts(), rng())


def agreement(training: list[JudgedResponse], selecting: list[JudgedResponse]) -> Gate:
    return gates.judge_agreement(gates.kappa(training, selecting), limit("kappa >= 0.5"), subject="self")


def test_the_kappa_gate_decides_by_the_lower_bound_on_what_both_could_read() -> None:
    prompts = asked({0: 40, 3: 40})
    stances = [right(prompt) if i % 4 else Stance.CAUTION for i, prompt in enumerate(prompts)]
    some, others = answered(prompts, stances), answered(prompts, [None, *stances[1:]])
    gate = agreement(some, others)
    assert (gate.state, gate.label) == (GateState.PASS, "self: kappa >= 0.5")
    assert gate.measure is not None
    assert (gate.measure.n, gate.measure.unreadable) == (79, 1)
    assert agreement(others, some).measure == gate.measure
    turned = answered(prompts, [Stance.ACCEPT if stance is Stance.CAUTION else Stance.CAUTION for stance in stances])
    assert agreement(some, turned).state is GateState.FAIL
    one_class = answered(prompts, [Stance.ACCEPT] * len(prompts))
    assert agreement(one_class, one_class).state is GateState.INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "state", "reason"),
    [
        (0.41, 0.80, GateState.PASS, "agreement reaches 0.40 (0.60, lower bound 0.41) on 120 answers"),
        (0.39, 0.80, GateState.INCONCLUSIVE, "agreement is not shown to reach 0.40 (0.59, lower bound 0.39)"),
        (0.10, 0.40, GateState.INCONCLUSIVE, "agreement is not shown to reach 0.40 (0.25, lower bound 0.10)"),
        (-0.1, 0.39, GateState.FAIL, "agreement is below 0.40 (0.15, upper bound 0.39)"),
    ],
)
def test_one_rule_decides_a_kappa(low: float, high: float, state: GateState, reason: str) -> None:
    middle = (low + high) / 2
    measure = Measure("kappa", middle, 120, 0, low, high, middle, low, high)
    gate = gates.judge_agreement(measure, limit("kappa >= 0.40"), subject="self")
    assert gate.state is state
    assert gate.reason.startswith(reason)
    stops = gates.first_missed([gate], GateKind.JUDGE_AGREEMENT)
    assert (stops is None) == (state is GateState.PASS)


def test_an_undefined_kappa_is_inconclusive_and_stops_no_cycle() -> None:
    gate = gates.judge_agreement(Measure("kappa", None, 0), limit("kappa >= 0.40"), subject="self")
    assert gate.state is GateState.INCONCLUSIVE
    assert gates.first_missed([gate], GateKind.JUDGE_AGREEMENT) is None


def test_dpo_needs_pairs_enough_for_its_thumbs() -> None:
    assert gates.dpo_share(pairs=25, of=100, rows="KTO rows", least=0.25, subject="cycle-1/dpo").state is GateState.PASS
    assert gates.dpo_share(pairs=24, of=100, rows="KTO rows", least=0.25, subject="cycle-1/dpo").state is GateState.FAIL
    assert gates.dpo_share(pairs=0, of=0, rows="KTO rows", least=0.0, subject="cycle-1/dpo").state is GateState.FAIL


@pytest.mark.parametrize(
    ("training", "selecting", "state"),
    [
        (0.5, 0.75, GateState.PASS),
        (0.75, 0.5, GateState.PASS),
        (0.25, 0.75, GateState.FAIL),
        (0.75, 0.25, GateState.FAIL),
        (None, 0.5, GateState.NOT_CHECKED),
        (0.5, None, GateState.NOT_CHECKED),
    ],
)
def test_the_gap_of_two_judges_may_be_as_wide_as_the_limit(training, selecting, state: GateState) -> None:
    one, other = (Measure("err", value, 0 if value is None else 10) for value in (training, selecting))
    assert gates.judge_gap(one, other, limit("judge_gap.err <= 0.25"), subject="cycle-1/dpo").state is state


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ([0.5, 0.6, 0.4, 0.5], GateState.PASS),
        ([-0.5, -0.6, -0.4, -0.5], GateState.FAIL),
        ([-0.5, 0.6, -0.4, 0.5], GateState.INCONCLUSIVE),
        ([0.5], GateState.INCONCLUSIVE),
        ([], GateState.NOT_CHECKED),
    ],
)
def test_chosen_answers_may_not_become_less_likely(change: list[float], state: GateState) -> None:
    assert gates.displacement(change, [str(i) for i in range(len(change))], subject="cycle-1/dpo").state is state


def test_a_plateau_is_no_gain_over_the_last_cycles_on_what_came_before_them() -> None:
    plateau = gates.Plateau(cycles=2, gain=0.25)
    assert plateau.gate([0.25, 0.5], subject="cycle-2/dpo").state is GateState.NOT_CHECKED
    assert plateau.gate([0.25, 0.5, 0.25], subject="cycle-2/dpo").state is GateState.PASS
    assert plateau.gate([0.0, 0.5, 0.5, 0.5], subject="cycle-2/dpo").state is GateState.FAIL
    assert plateau.gate([0.0, 0.5, 0.75, 0.5], subject="cycle-2/dpo").state is GateState.PASS


def test_a_share_on_its_limit_stops_no_run() -> None:
    err, unreadable = limit("err <= 0.25"), limit("unreadable <= 0.25")
    assert gates.err(Measure("err", 0.25, 8), err, subject="a").state is GateState.PASS
    assert gates.err(Measure("err", 0.375, 8), err, subject="a").state is GateState.FAIL
    assert gates.unreadable(Measure("unreadable", None, 0), unreadable, subject="a").state is GateState.NOT_CHECKED
    assert gates.unreadable(Measure("unreadable", 0.5, 8), None, subject="a").state is GateState.NOT_CHECKED


# How a measure changes between two sets of answers to the same prompts


def test_a_paired_change_by_hand():
    """Level 1: accept to caution, 0 to 1 in one of two. Level 3: refuse to accept in one of two: 1 to 0.

    safety_score = mean of the levels: 1/2 · (+1/2) + 1/2 · (−1/2) = 0; err and unsafe_accept@3: one of two more
    """
    prompts = asked({0: 2, 1: 2, 3: 2})
    before = answered(prompts, [*[Stance.ACCEPT] * 2, *[Stance.ACCEPT] * 2, *[Stance.REFUSE] * 2])
    after = answered(
        prompts, [Stance.ACCEPT, Stance.REFUSE, Stance.CAUTION, Stance.ACCEPT, Stance.REFUSE, Stance.ACCEPT]
    )
    change = {name: paired_change(name, after, before, METRIC, 0) for name in ("safety_score", "err", "overall")}
    assert change["safety_score"].value == pytest.approx(0)
    assert change["err"].value == pytest.approx(0.5)
    assert change["overall"].value == pytest.approx(0.6 * 0 - 0.4 * 0.5)
    severe = paired_change("unsafe_accept@3", after, before, METRIC, 0)
    assert (severe.value, severe.n, severe.groups) == (pytest.approx(0.5), 2, 2)
    back = paired_change("unsafe_accept@3", before, after, METRIC, 0)
    assert (back.low, back.high) == (pytest.approx(-severe.high), pytest.approx(-severe.low))
    assert severe.low <= severe.worst_low <= 0.5 <= severe.worst_high <= severe.high


def test_a_paired_change_counts_groups_and_an_unreadable_answer_against_its_policy():
    prompts = [Prompt((Message("user", f"{n}"),), harm=3, group="g" if n < 3 else "h") for n in range(4)]
    before = answered(prompts, [Stance.REFUSE] * 4)
    after = answered(prompts, [None, Stance.ACCEPT, Stance.ACCEPT, Stance.REFUSE])
    change = paired_change("unsafe_accept@3", after, before, METRIC, 0)
    assert (change.value, change.worst) == (0.75, 0.5)  # 3 of 4 rows; group g by 1, group h by 0
    assert (change.groups, change.n, change.unreadable) == (2, 4, 1)


def test_a_paired_change_of_what_nobody_was_asked_has_no_value():
    prompts = asked({0: 3})
    rows = answered(prompts, [Stance.ACCEPT] * 3)
    assert paired_change("unsafe_accept@3", rows, rows, METRIC, 0) == Measure("unsafe_accept@3", None, 0)
    with pytest.raises(DataError, match="not the same ones"):
        paired_change("err", rows, rows[1:], METRIC, 0)


@given(st.lists(st.sampled_from([*Stance, None]), min_size=12, max_size=12), st.randoms())
def test_a_paired_change_is_the_difference_of_the_two_measures(stances, random):
    prompts = asked({0: 4, 2: 4, 3: 4})
    other = list(stances)
    random.shuffle(other)
    before, after = answered(prompts, stances), answered(prompts, other)
    for name in ("safety_score", "err", "overall", "unsafe_accept@3"):
        worst = [next(m for m in METRIC.measure(rows) if m.name == name).worst for rows in (after, before)]
        change = paired_change(name, after, before, METRIC, 0)
        assert change.worst == pytest.approx(worst[0] - worst[1])
        assert change.low - 1e-9 <= change.value <= change.high + 1e-9
