"""What was found out about the judges of a run: files in its folder that the report reads.

audit.json         `bedside audit`
correction.json    `bedside evaluate --labels`
"""

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from bedside.core.audits import Audits, Correction

AUDIT, CORRECTION = "audit.json", "correction.json"


def read(run: Path) -> Audits | None:
    """Both files as one; None where there is neither."""
    audit, correction = run / AUDIT, run / CORRECTION
    if not audit.is_file() and not correction.is_file():
        return None
    told = TypeAdapter(Audits).validate_json(audit.read_bytes()) if audit.is_file() else Audits()
    if not correction.is_file():
        return told
    return replace(told, corrections=TypeAdapter(tuple[Correction, ...]).validate_json(correction.read_bytes()))
