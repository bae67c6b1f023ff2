"""`bedside card`, `verify` and `approve`: the audit trail of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import bedside
from bedside.cli.options import OUT, File, Json, Sets, find_run, require, show
from bedside.cli.terminal import MARKS, print_lines
from bedside.core.gates import Finding, GateState

Finished = Annotated[
    str | None, typer.Argument(help="The run: its folder, or its name in runs/; the config's by default.")
]


def card(
    run: Finished = None,
    config: File = None,
    sets: Sets = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; card.md of the run by default.")
    ] = None,
) -> None:
    """Write the card of a finished run: model, data, decisions, risks, and what reporting guidelines ask for."""
    OUT.print(f"wrote {bedside.write_card(run or find_run(config, sets, None), out)}")


def verify(run: Finished = None, config: File = None, sets: Sets = None, json_: Json = False) -> None:
    """Show whether the log, the files and the release of a run are still what was written. Exits 3 if not."""
    result = bedside.verify(run or find_run(config, sets, None))
    show(json_, result.records, _print_findings, result.findings)
    require(result.passed)


def approve(
    run: Finished = None,
    by: Annotated[str, typer.Option(help="The name of the person who approves.")] = "",
    role: Annotated[str, typer.Option(help="That person's role: medical lead, data protection ...")] = "",
    config: File = None,
    sets: Sets = None,
) -> None:
    """Log that a named person approves what a run may release. Refused if nothing may be released."""
    OUT.print(f"approved: {bedside.approve(run or find_run(config, sets, None), by=by, role=role)}")


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """One line per finding; the last line says whether anything was changed."""
    failed = any(finding.state is GateState.FAIL for finding in findings)
    what = "this run is not what was written: do not rely on its figures" if failed else "nothing was changed"
    lines = (f"{MARKS[finding.state]} {finding.name}: {finding.reason}" for finding in findings)
    print_lines(console, *lines, f"\n{what}")
