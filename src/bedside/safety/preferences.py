"""Builds training rows from verdicts.

A verdict alone does not say whether an answer was right: refusing is right for a harmful request and wrong for
a harmless one. ``safety.score_table`` holds that table, S(harm, stance).

    unpaired         the observed answer is desirable if S = 1, else undesirable; cells (harm, desirable) with too few
                     rows, by number or share of the level, get the conditional answers that the judge verified
    pair             the observed answer is one side; the other is a counter-response, which counts only if the judge
                     reads the stance that was asked for and S(chosen) > S(rejected)
    pair after KTO   the latest wrong answer and a right one, for a policy that was trained with KTO in the meantime
    demonstration    every right answer, observed or conditional

The instruction that made a counter-response is removed: every row has the patient's own prompt.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal

from bedside.core.results import FilterCounts
from bedside.core.text import is_blank
from bedside.core.types import (
    Demonstration,
    JudgedResponse,
    Origin,
    PreferencePair,
    Stance,
    UnpairedPreference,
)
from bedside.safety.score_table import score

Half = Literal["unwanted", "drop"]


def worth(row: JudgedResponse) -> float | None:
    """S(harm, stance) in [0, 1]; None for an unreadable answer. DataError without a harm level."""
    harm = row.prompt.level
    return None if row.stance is None else score(harm, row.stance)


def refuses_rightly(row: JudgedResponse) -> bool:
    """Whether ``row`` refuses a prompt that should be refused."""
    return row.stance is Stance.REFUSE and row.prompt.level > 0 and worth(row) == 1.0


def without_own_refusals(
    observed: Sequence[JudgedResponse], conditional: Sequence[JudgedResponse]
) -> tuple[list[JudgedResponse], list[JudgedResponse], FilterCounts]:
    """Both lists, with verified refusals of ``conditional`` instead of the policy's own refusals.

    If none was verified, the policy's own refusal is left out, because its wording should not be learned.
    """
    other = {row.prompt.id: row for row in conditional}
    rows = [other.get(row.prompt.id) if refuses_rightly(row) else row for row in observed]
    own = {row.prompt.id for row in observed if refuses_rightly(row)}
    left, kept = [row for row in conditional if row.prompt.id not in own], [row for row in rows if row is not None]
    dropped = Counter({"own refusal, no other one verified": len(rows) - len(kept)})
    return kept, left, FilterCounts("own refusals replaced", len(conditional) - len(left), +dropped)


def unpaired(
    observed: Sequence[JudgedResponse],
    conditional: Sequence[JudgedResponse],
    *,
    half: Half = "unwanted",
    least: int = 1,
    share: float = 0.0,
) -> tuple[list[UnpairedPreference], FilterCounts]:
    """KTO rows. Verified ``conditional`` answers are added to cells (harm, desirable) with fewer than ``least`` rows,
    or with less than ``share`` of the level's rows, so that a few wrong verdicts do not count as a class."""
    dropped: Counter[str] = Counter()
    rows: list[UnpairedPreference] = []
    for row in observed:
        value = worth(row)
        if value is None:
            dropped["unreadable"] += 1
        elif value == 0.5 and half == "drop":
            dropped["half right"] += 1
        else:
            rows.append(_unpaired(row, label=value == 1.0))
    filled = _rows_for_short_cells(rows, conditional, least, share)
    notes = {"wanted": sum(r.label for r in rows + filled), "conditional": len(filled)}
    return rows + filled, FilterCounts("unpaired preferences", len(rows) + len(filled), dropped, notes)


def pairs(
    observed: Iterable[JudgedResponse], conditional: Iterable[JudgedResponse]
) -> tuple[list[PreferencePair], FilterCounts]:
    """DPO rows: an observed answer and a verified conditional one, if they have different scores."""
    other = {row.prompt.id: row for row in conditional}
    dropped: Counter[str] = Counter()
    rows: list[PreferencePair] = []
    for row in observed:
        second = other.get(row.prompt.id)
        if row.stance is None or second is None:
            dropped["no counter-response, or none verified" if row.stance else "unreadable"] += 1
        elif row.response.text == second.response.text:
            dropped["equal texts"] += 1
        elif worth(row) == worth(second):
            dropped["equal worth"] += 1
        else:
            rows.append(_pair(row, second))
    return rows, FilterCounts("preference pairs", len(rows), dropped, _pair_notes(rows))


def pairs_after(
    before: Iterable[JudgedResponse], after: Iterable[JudgedResponse], conditional: Iterable[JudgedResponse]
) -> tuple[list[PreferencePair], FilterCounts]:
    """DPO rows for a policy after KTO: one for each prompt that was answered wrongly before or after it.

    Rejected is the latest wrong answer. Chosen is the policy's own latest right answer, else the verified
    ``conditional`` one. Prompts that were right both times are not counted.
    """
    latest, other = ({row.prompt.id: row for row in rows} for rows in (after, conditional))
    dropped: Counter[str] = Counter()
    rows: list[PreferencePair] = []
    for row in before:
        own = [answer for answer in (latest.get(row.prompt.id), row) if answer is not None]
        right = [answer for answer in (*own, other.get(row.prompt.id)) if answer is not None and worth(answer) == 1.0]
        wrong = [answer for answer in own if worth(answer) not in (None, 1.0)]
        if wrong and not right:
            dropped["no right answer, of its own or verified"] += 1
        elif wrong and right[0].response.text == wrong[0].response.text:
            dropped["equal texts"] += 1
        elif wrong:
            rows.append(_pair(right[0], wrong[0]))
    return rows, FilterCounts("preference pairs after KTO", len(rows), dropped, _pair_notes(rows))


def demonstrations(unpaired: Iterable[UnpairedPreference], pairs: Iterable[PreferencePair]) -> list[Demonstration]:
    """SFT rows: every right answer once, of pairs and of unpaired rows. Empty answers are dropped.

    A right answer without a verified counter-response is in no pair, but is still worth imitating (arXiv 2304.06767).
    """
    right = [(p.prompt, p.chosen, p.chosen_ids, p.chosen_origin) for p in pairs]
    right += [(t.prompt, t.text, t.ids, t.origin) for t in unpaired if t.label]
    once: dict[tuple[str, str], Demonstration] = {}
    for prompt, text, ids, origin in right:
        if not is_blank(text):
            once.setdefault((prompt.id, text), Demonstration(prompt, text, ids, provenance=origin))
    return list(once.values())


def unreadable_reasons(rows: Iterable[JudgedResponse]) -> dict[str, int]:
    """Why answers could not be read, and how often."""
    return dict(Counter(row.verdict.unreadable for row in rows if row.stance is None).most_common())


def _rows_for_short_cells(
    rows: Sequence[UnpairedPreference], conditional: Sequence[JudgedResponse], least: int, share: float
) -> list[UnpairedPreference]:
    cells = Counter((row.prompt.harm, row.label) for row in rows)
    enough = {harm: max(least, share * (cells[harm, True] + cells[harm, False])) for harm, _ in cells}
    offered = [_unpaired(row, label=worth(row) == 1.0) for row in conditional if worth(row) != 0.5]
    return [row for row in offered if cells[row.prompt.harm, row.label] < enough.get(row.prompt.harm, least)]


def _unpaired(row: JudgedResponse, *, label: bool) -> UnpairedPreference:
    return UnpairedPreference(row.prompt, row.response.text, label, row.response.ids, _origin(row))


def _pair(first: JudgedResponse, second: JudgedResponse) -> PreferencePair:
    better, worse = sorted((first, second), key=lambda row: worth(row) or 0.0, reverse=True)
    return PreferencePair(
        prompt=better.prompt,
        chosen=better.response.text,
        rejected=worse.response.text,
        chosen_ids=better.response.ids,
        rejected_ids=worse.response.ids,
        chosen_origin=_origin(better),
        rejected_origin=_origin(worse),
    )


def _origin(row: JudgedResponse) -> Origin:
    return "conditional" if row.response.steered else "observed"


def _pair_notes(rows: Sequence[PreferencePair]) -> dict[str, float]:
    """Origins by side, and how much longer the chosen side is: DPO may learn the length instead of the content."""
    if not rows:
        return {}
    return {
        "chosen observed": sum(r.chosen_origin == "observed" for r in rows),
        "rejected observed": sum(r.rejected_origin == "observed" for r in rows),
        "length chosen / rejected": fmean(len(r.chosen) for r in rows) / fmean(len(r.rejected) for r in rows),
    }
