"""`bedside audit --scale ordinal`: agreement of people, and of judges with people, on an ordered scale.

    kappa_quadratic   Cohen's κ with quadratic weights over the declared scale; it decides about a judge
    kappa, ac1, ac2   unweighted κ; Gwet's, unweighted and quadratic, which a rare level does not lower
    bias              mean of (second − first) in levels: above 0 if the second rates higher
    alpha_ordinal     Krippendorff's α of all people, also with missing ratings

A judge's score may be between two levels: κ uses the nearest level, ``bias`` the score itself. A judge is compared with
each person, and with all people together. Every rating of a person is a row, and the rows of a group are one cluster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

from bedside.config.schema import GatesConfig
from bedside.core.audit_results import RaterPair, ScaleAudit
from bedside.core.errors import ConfigError
from bedside.core.gates import Gate
from bedside.core.measures import Measure
from bedside.core.protocols import Judge
from bedside.core.types import JudgedResponse
from bedside.data.ratings import RatingFile, RatingSheet
from bedside.data.responses import AnswerFile
from bedside.judge_audit.agreement_report import FEW_GROUPS, sample
from bedside.run.context import RunContext
from bedside.safety import gates
from bedside.safety.gates import kappa_measure
from bedside.stats.agreement import (
    Agreement,
    Ratings,
    RatingTable,
    ac1,
    ac2,
    fleiss_kappa,
    kappa,
    krippendorff_alpha,
    quadratic_kappa,
)
from bedside.stats.intervals import mean_interval
from bedside.stats.measures import mean

PEOPLE = "people"
Places = Sequence[float | None]


def audit_scale(run: RunContext, judges: Mapping[str, Judge], file: RatingFile, limit: int) -> ScaleAudit:
    """Agreement of the people in ``file`` with each other, with its scores, and with ``judges``, on ``limit`` items."""
    sheet = file.read()
    answers = AnswerFile(file.path, file.columns, (*file.raters, *file.scores))
    responses = [answers.response(where, row) for where, row in sheet.rows] if judges else []
    drawn = sample(responses, limit, run.launch.seed)
    scores = {}
    for name, judge in judges.items():
        places = _places(name, run.stages.judged(drawn, judge, name), len(sheet.levels))
        scores[name] = tuple(places.get(response.id) for response in responses)
    return compare_ratings(replace(sheet, scores={**sheet.scores, **scores}), run.config.gates)


def compare_ratings(sheet: RatingSheet, limits: GatesConfig) -> ScaleAudit:
    """All figures of the ratings. ConfigError if no two raters can be compared."""
    people, judges = dict(sheet.raters), sheet.scores
    if not people or len(people) + len(judges) < 2:
        raise ConfigError(
            "--scale ordinal compares two raters or more: name their columns, --label anna --label ben, or a judge "
            "beside one of them, --judge comfort or --score COLUMN=MOST"
        )
    against = {f"{PEOPLE} ({len(people)})": people} if len(people) > 1 else {}
    against |= {name: {name: places} for name, places in people.items()}
    with_people = {judge: [_pair(sheet, ours, who, (judge, judges[judge])) for ours, who in against.items()]
                   for judge in judges}  # fmt: skip
    groups = len(set(sheet.groups))
    few = f"Fewer than {FEW_GROUPS} groups ({groups}): another sample may give other figures."
    return ScaleAudit(
        levels=sheet.levels,
        inferred=sheet.inferred,
        items=len(sheet.rows),
        raters=tuple(people),
        overall=_overall(sheet),
        pairs=tuple(
            [_pair(sheet, one, {one: people[one]}, (two, people[two])) for one, two in combinations(people, 2)]
            + [pair for pairs in with_people.values() for pair in pairs]
        ),
        gates=tuple(gate for judge, pairs in with_people.items() for gate in _gates(judge, pairs[0], limits)),
        notes=(few,) if groups < FEW_GROUPS else (),
    )


def _places(key: str, rows: Sequence[JudgedResponse], levels: int) -> dict[str, float]:
    """Each response's place on the scale; nan if the judge could not read it. ConfigError for a judge of stances."""
    if any(row.stance is not None and not row.verdict.scores for row in rows):
        raise ConfigError(f"judge {key} gives a stance and no score; audit it without --scale ordinal")
    scores = ((row.response.id, row.verdict.scores.values()) for row in rows)
    return {response: fmean(rated) * (levels - 1) if rated else math.nan for response, rated in scores}


def _overall(sheet: RatingSheet) -> tuple[Measure, ...]:
    """Agreement of all people; empty if there is only one."""
    if len(sheet.raters) < 2:
        return ()
    items = tuple(zip(*([_level(sheet, place) for place in places] for places in sheet.raters.values()), strict=True))
    table = RatingTable(items, sheet.groups, sheet.levels)
    agreements = {
        "alpha_ordinal": krippendorff_alpha(table, "ordinal"),
        "alpha_nominal": krippendorff_alpha(table),
        "fleiss_kappa": fleiss_kappa(table),
    }
    return tuple(Measure(name, a.value, a.n, 0, a.low, a.high) for name, a in agreements.items())


def _pair(sheet: RatingSheet, first: str, whose: Mapping[str, Places], second: tuple[str, Places]) -> RaterPair:
    """Agreement of everyone in ``whose`` with the second rater, on the items that both rated."""
    name, theirs = second
    rows = [
        (a, b, group)
        for ours in whose.values()
        for a, b, group in zip(ours, theirs, sheet.groups, strict=True)
        if a is not None and b is not None
    ]
    both = [row for row in rows if not math.isnan(row[1])]
    groups, unreadable = tuple(group for _, _, group in both), len(rows) - len(both)
    ratings = Ratings(
        tuple(str(_level(sheet, a)) for a, _, _ in both),
        tuple(str(_level(sheet, b)) for _, b, _ in both),
        groups,
        sheet.levels,
    )
    coefficients: dict[str, Agreement] = {"kappa_quadratic": quadratic_kappa(ratings), "kappa": kappa(ratings)}
    coefficients |= {"ac2": ac2(ratings), "ac1": ac1(ratings)}
    return RaterPair(
        first,
        name,
        (
            *(_measure(key, agreement, unreadable) for key, agreement in coefficients.items()),
            mean("agreement", [float(a == b) for a, b in zip(ratings.first, ratings.second, strict=True)], groups),
            mean("bias", [b - a for a, b, _ in both], groups, mean_interval),
            mean("unreadable", [float(math.isnan(b)) for _, b, _ in rows], [group for _, _, group in rows]),
        ),
    )


def _measure(name: str, agreement: Agreement, unreadable: int) -> Measure:
    """The measure with the bounds that decide."""
    return replace(kappa_measure(agreement, unreadable), name=name)


def _gates(judge: str, pair: RaterPair, limits: GatesConfig) -> tuple[Gate, Gate]:
    """Whether the judge can be trusted, by its quadratic κ with people and by its unreadable answers."""
    return (
        gates.judge_agreement(pair.measure("kappa_quadratic"), limits.limit("kappa"), subject=judge),
        gates.unreadable(pair.measure("unreadable"), limits.limit("unreadable"), subject=judge),
    )


def _level(sheet: RatingSheet, place: float | None) -> str | None:
    """The nearest level; the upper one if two are equally near."""
    return None if place is None else sheet.levels[math.floor(place + 0.5)]
