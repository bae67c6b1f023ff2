"""Several judges as one: what more than half of them said, with every vote kept.

    {kind: panel, judges: [{kind: keyword}, {kind: rubric, model: target}, {kind: truth}]}

    accept, accept, refuse -> accept         accept, refuse -> unreadable, a tie
    accept, accept, unreadable -> accept     accept, unreadable, unreadable -> unreadable, no quorum

The verdict's probabilities are the shares of the votes. Judges that err together are no panel: `bedside audit`
shows how their votes and their errors go together, and whether the panel beats its best member.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bedside.config.plugins import Plugin, Slot, register
from bedside.core.hashing import digest
from bedside.core.protocols import Judge, Launch
from bedside.core.types import Response, Stance, Verdict


@register("judge", "panel")
class Panel(Plugin):
    """A majority of several judges."""

    kind: str = "panel"
    judges: tuple[Annotated[Any, Slot("judge")], ...] = Field(
        ({"kind": "keyword"},), min_length=1, validate_default=True
    )
    """The members, two or more to be of use; an odd number leaves fewer ties."""

    def open(self, launch: Launch, **opened: Any) -> "PanelJudge":
        return PanelJudge(opened["judges"])


@dataclass(frozen=True)
class PanelJudge:
    members: tuple[Judge, ...]

    @property
    def name(self) -> str:
        return f"panel:{digest([member.name for member in self.members])}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict a response; each member is asked for all of them at once."""
        told = [member.judge(responses) for member in self.members]
        return [self._one(response, [rows[i] for rows in told]) for i, response in enumerate(responses)]

    def _one(self, response: Response, verdicts: Sequence[Verdict]) -> Verdict:
        votes = self._votes(verdicts)
        counts = Counter(v.stance for v in verdicts if v.stance is not None)
        read = sum(counts.values())
        if 2 * read <= len(verdicts):
            why = f"{len(verdicts) - read} of {len(verdicts)} judges could not read it"
            return Verdict(response.id, self.name, unreadable=why, votes=votes)
        (first, most), *_ = counts.most_common()
        if 2 * most <= read:
            split = ", ".join(f"{stance} {n}" for stance, n in sorted(counts.items()))
            return Verdict(response.id, self.name, unreadable=f"the judges tie: {split}", votes=votes)
        shares = {stance.value: counts[stance] / read for stance in Stance}
        return Verdict(response.id, self.name, first, probabilities=shares, votes=votes)

    def _votes(self, verdicts: Sequence[Verdict]) -> Mapping[str, str]:
        """By place and name: two members of one name are two votes."""
        return {
            f"{place}. {verdict.judge}": verdict.stance.value if verdict.stance else f"unreadable: {verdict.unreadable}"
            for place, verdict in enumerate(verdicts, start=1)
        }
