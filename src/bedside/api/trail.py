"""The audit trail of a run: verify it, approve it, and write its card."""

from pathlib import Path

from bedside.api.loop import CheckResult, read_run, run_folder
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import GateState
from bedside.data.io import require_replaceable, write_text
from bedside.run import approvals, verification
from bedside.run.approvals import Approval
from bedside.run.owner import owned


def verify(run: str | Path) -> CheckResult:
    """Whether the log, the files and the release of a run are still what was written. ``run``: its folder or name.

    Each finding is PASS, FAIL (something was changed), INCONCLUSIVE (look at it) or NOT CHECKED. Raises DataError if
    there is no run.

    >>> [finding.name for finding in bedside.verify("tour").findings]
    ['log', 'files', 'release']
    """
    return CheckResult(verification.verify(run_folder(run)))


def approve(run: str | Path, *, by: str, role: str) -> Approval:
    """Log that a named person approves what a run may release, as a line of the run's chained log.

    Raises ConfigError if a name or role is missing, and DataError if nothing may be released or if the run is not what
    was written.

    >>> bedside.approve("tour", by="Dr A. Example", role="medical lead")
    Traceback (most recent call last):
    ...
    bedside.core.errors.DataError: runs/tour: nothing to approve. ...
    """
    if not by.strip() or not role.strip():
        raise ConfigError("an approval needs the name of a person (--by) and their role (--role)")
    finished = read_run(run)
    if finished.released is None:
        raise DataError(f"{finished.folder}: nothing to approve. {finished.verdict}")
    changed = [finding for finding in verification.verify(finished.folder) if finding.state is GateState.FAIL]
    if changed:
        raise DataError(f"{finished.folder}: not approved, {changed[0].name}: {changed[0].reason}")
    with owned(finished.folder):
        return approvals.append(finished.folder, by=by.strip(), role=role.strip(), checkpoint=finished.released.name)


def write_card(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the card of a finished run: model, data, decisions, risks, and what reporting guidelines ask for.

    ``out`` is ``card.md`` in the run's folder by default. Returns its path. Raises DataError if there is no run, or if
    the file holds anything but a card, which would be lost.

    >>> bedside.write_card("tour", "card.md").name
    'card.md'
    """
    from bedside.report import card

    folder = run_folder(run)
    to = Path(out) if out is not None else folder / "card.md"
    text = card.page(folder)
    require_replaceable(to, card.MARK)
    write_text(to, text)
    return to
