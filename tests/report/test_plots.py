"""The plots of the report: marks, lines and labels stand where the figures say, and apart from one another."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.support.report_pages import CYCLES, RUNS, candidate, figures, gate, page, shipping

from bedside.core.gates import GateKind
from bedside.report import plots, trajectory
from bedside.safety.selection import AlphaSegment


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_plots_hold_finite_numbers_within_sight_only(make):
    names = {"d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r", "transform", "viewbox"}
    for tag, name, value in page(make()).attributes:
        if name in names and tag != "svg":
            words = re.sub(r"translate|rotate|[MLHVZaqlhvz()]", " ", value).replace("-", " -").split()
            assert all(-100 <= float(word) <= 1000 for word in words), (tag, name, value)


def spots(*places: tuple[str, float, float], alpha: float | None = 0.6) -> plots.Plane:
    def exactly(value: float) -> plots.MeasureSpan:
        return plots.MeasureSpan(value, value, value)

    return plots.plane([plots.Point(n, "candidate", exactly(e), exactly(s)) for n, e, s in places], alpha)


def test_labels_stay_apart_where_marks_coincide():
    drawn = spots(*((f"cycle-{i}/kto", 0.0, 0.0) for i in range(30)))
    heights = [spot.label_y for spot in drawn.points]
    assert min(b - a for a, b in pairwise(heights)) >= plots.LABEL_GAP - 0.2
    assert 0 <= heights[0] < heights[-1] <= drawn.height


def test_the_upper_left_corner_is_safe_and_helpful():
    best, worst = spots(("best", 0.0, 1.0), ("worst", 1.0, 0.0)).points
    assert (best.x, best.y) == (plots.LEFT, plots.TOP)
    assert (worst.x, worst.y) == (plots.LEFT + plots.SIDE, plots.TOP + plots.SIDE)


def corners(line: plots.Isoline) -> list[tuple[float, float]]:
    """(err, safety_score) of both ends."""
    ends = [(line.x1, line.y1), (line.x2, line.y2)]
    return [(round((x - plots.LEFT) / plots.SIDE, 2), round(1 - (y - plots.TOP) / plots.SIDE, 2)) for x, y in ends]


def test_lines_of_equal_overall_by_hand():
    # 0.6 s + 0.4 (1 − e) = 0.6 holds at e = 0, s = 1/3 and at e = 1, s = 1
    assert corners(plots.isolines(0.6, [0.6])[0]) == [(0.0, 0.33), (1.0, 1.0)]


def test_lines_of_equal_overall_at_the_ends_of_alpha():
    assert corners(plots.isolines(1.0, [0.4])[0]) == [(0.0, 0.4), (1.0, 0.4)]
    assert corners(plots.isolines(0.0, [0.4])[0]) == [(0.6, 0.0), (0.6, 1.0)]
    assert plots.isolines(0.6, [0.0, 1.0]) == ()  # they touch a corner only


def test_without_alpha_no_line_is_drawn_and_the_report_says_so():
    run = replace(shipping(), facts={})
    assert "does not record its α" in page(run).text
    assert spots(("a", 0.1, 0.9), alpha=None).isolines == ()


def test_who_wins_is_told_at_every_flip_point():
    # target: h = 0.98, s = 0.31; kto: 0.95, 0.78. Equal at α = 0.03 / (0.47 + 0.03) = 0.06
    found = page(shipping())
    assert "A: target" in found.under("th.")
    assert found.under("td.").count("0.060") == 2


def test_bands_of_the_strip_lie_side_by_side():
    segments = [AlphaSegment(0, 0.06, "a"), AlphaSegment(0.06, 0.07, "b"), AlphaSegment(0.07, 1, "c")]
    drawn = plots.strip(segments, 0.6)
    ends = [band.x + band.width for band in drawn.bands]
    assert [band.x for band in drawn.bands] == pytest.approx([plots.STRIP_LEFT, *ends[:-1]])
    assert [band.text for band in drawn.bands] == ["A", "", "C: c"]
    assert [tick.text for tick in drawn.ticks] == ["0.00", "0.06", "0.07", "1.00"]


def test_the_ways_of_both_judges_stand_in_one_frame_with_the_band_the_alarm_allows():
    def read(name, selecting, training):
        return replace(candidate(name, selecting, 0.1, 0.0), training=figures(training, 0.1, 0.0) if training else ())

    target, kto = read("target", 0.2, None), read("cycle-1/kto", 0.8, 0.95)
    gap = gate(GateKind.JUDGE_GAP, "judge_gap.safety_score <= 0.15", "near enough")
    cycle = replace(CYCLES[0], candidates=(target, kto), selected="cycle-1/kto", gates=(gap,))
    safety, err = trajectory.panels([cycle])
    height = trajectory.HEIGHT
    # y grows downwards from TOP: 0.2 and 0.8 by the selecting judge, 0.95 by the training one, which read no target
    assert [dot.y for dot in safety.selecting] == pytest.approx([26 + 0.8 * height, 26 + 0.2 * height])
    assert [dot.y for dot in safety.training] == pytest.approx([26 + 0.05 * height])
    assert safety.training[0].x == safety.selecting[1].x
    corners = [float(pair.split(",")[1]) for pair in safety.band.split()]
    shares = [0.35, 0.95, 0.65, 0.05]  # 0.2 and 0.8, 0.15 above; back, 0.15 below
    assert corners == pytest.approx([26 + (1 - share) * height for share in shares])
    assert (safety.limit, err.limit, err.band) == (0.15, None, "")
    text = page(replace(shipping(), cycles=(cycle,))).text
    assert "training judge" in text
    assert "0.15 on safety_score." in text
    assert trajectory.panels([]) == ()
