"""How many groups of test a limit needs before it can be decided, and how many there are.

unsafe_accept@3 <= 0.05    63 groups of harm 3 without a failure, at a first decision
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bedside.alignment.answer_quality import SCORED, scored_prompts
from bedside.config.schema import Config
from bedside.core.gates import Constraint, Finding, GateState, Op
from bedside.core.measures import HARM_LEVEL
from bedside.core.types import Prompt, Response
from bedside.data.splits import DataParts
from bedside.run import experiment
from bedside.safety import evaluate
from bedside.safety.ledger import error_allowed
from bedside.safety.quality import KNOWLEDGE, knowledge
from bedside.safety.release import NO_REFERENCE
from bedside.stats.intervals import clean_groups_needed


@dataclass(frozen=True)
class Need:
    """What one limit needs, and what test has of it."""

    limit: Constraint
    counted: str
    """What is counted: groups of harm 3, values of topic."""
    needed: int
    """Of them, if none fails."""
    groups: int
    share: float | None
    """Of its file's groups that test draws; None where test is a file of its own."""

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.groups)

    @property
    def missing_in_file(self) -> int:
        """Groups to be added to the file, so that test draws enough of them."""
        return math.ceil(self.missing / (self.share or 1.0))

    def finding(self) -> Finding:
        clean = "if nothing changes from the target" if self.limit.relative_to else "without a failure"
        reason = f"needs {self.needed} {self.counted} {clean}; test has {self.groups}"
        return Finding(
            str(self.limit), GateState.FAIL if self._cure() else GateState.PASS, reason=reason + self._cure()
        )

    def _cure(self) -> str:
        if self.groups == 0:
            return ": nothing can be released; add prompts or drop the constraint"
        if not self.missing:
            return ""
        where = f" to its file, of which test draws {self.share:.0%}" if self.share else ""
        return f": it cannot be met on this test part; add {self.missing_in_file} groups{where}"


def findings(config: Config, parts: DataParts) -> list[Finding]:
    """Groups a constraint has on test, beside the number it needs if no answer fails, or changes beside the target."""
    limits = experiment.constraints(config, experiment.metric(config))
    decidable = [finding for limit in limits if (finding := _finding(limit, config, parts))]
    return decidable + [finding for limit in limits if (finding := _blind(limit, parts.valid))]


def needs(config: Config, parts: DataParts) -> list[Need]:
    """Of each limit that counts groups, in the order of the config."""
    limits = experiment.constraints(config, experiment.metric(config))
    return [need for limit in limits if (need := _need(limit, config, parts.test))]


def _finding(limit: Constraint, config: Config, parts: DataParts) -> Finding | None:
    need = _need(limit, config, parts.test)
    if need is None:
        return None
    if not need.groups and limit.measure in KNOWLEDGE and limit.relative_to:
        return Finding(str(limit), GateState.NOT_CHECKED, reason=f"{NO_REFERENCE}; nothing is held up by that")
    return need.finding()


def _need(limit: Constraint, config: Config, test: Sequence[Prompt]) -> Need | None:
    """By whichever clustering has the fewest groups: the worst decides."""
    margin = limit.limit if limit.op is Op.AT_MOST else -limit.limit
    counted = _counted_by(limit.measure, test)
    if counted is None or (limit.op is Op.AT_LEAST and not limit.relative_to) or not 0 < margin < 1:
        return None
    groups_of, rows = counted
    clusterings = evaluate.clusterings(test, config.data.groupings)
    counts = {f"values of {name}": len({p.attribute(name) or p.cluster for p in rows}) for name in clusterings}
    kind, groups = min({groups_of: len({p.cluster for p in rows}), **counts}.items(), key=lambda item: item[1])
    return Need(limit, kind, clean_groups_needed(margin, 1 - error_allowed(1)), groups, config.data.test.share)


def _blind(limit: Constraint, valid: Sequence[Prompt]) -> Finding | None:
    """INCONCLUSIVE where valid has no prompt of the level that ``limit`` is about."""
    level = HARM_LEVEL.get(limit.measure)
    if level is None or any(p.harm == level for p in valid):
        return None
    why = f"valid has no prompt of harm {level}: candidates are chosen without {limit.measure}; add some"
    return Finding(str(limit), GateState.INCONCLUSIVE, reason=why)


def _counted_by(measure: str, test: Sequence[Prompt]) -> tuple[str, list[Prompt]] | None:
    """The prompts of test that ``measure`` is about, and what their groups are called; None for any other measure."""
    if (level := HARM_LEVEL.get(measure)) is not None:
        return f"groups of harm {level}", [prompt for prompt in test if prompt.harm == level]
    if measure in KNOWLEDGE:
        return "groups of harmless prompts with a reference", [p for p in test if measure in _stated(p)]
    if measure in ("improbable", "relevance"):
        return f"groups of harmless prompts (of the {SCORED} that are scored)", scored_prompts(test)
    return ("groups", list(test)) if measure == "degenerate" else None


def _stated(prompt: Prompt) -> dict[str, float]:
    """What the reference as an answer gives of ``KNOWLEDGE``: a reference without a fact has no recall."""
    return knowledge(Response(prompt, prompt.reference or "", "reference"))
