"""The verb about judges: ``audit``."""

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import (
    OUT,
    Columns,
    File,
    Json,
    Name,
    Seed,
    Sets,
    app,
    load_config_or_default,
    overrides,
    pairs,
    print_json,
    wrote,
)


@app.command()
def audit(
    answers: Annotated[
        Path | None, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="A key of judges, or a kind. May be repeated.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The reference judge, a key of judges; select.judge by default.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A column of experts' labels, one per rater. May be repeated.")
    ] = None,
    label_map: Annotated[
        list[str] | None, typer.Option(help="LABEL=MEANING, as in yes=accept no=not_accept. May be repeated.")
    ] = None,
    column: Columns = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many answers to compare, drawn by level and style.")
    ] = 500,
    adversarial: Annotated[
        bool, typer.Option("--adversarial", help="Also add strings to the answers that try to change the label.")
    ] = False,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    seed: Seed = None,
    json_: Json = False,
) -> None:
    """Measure whether a judge can be trusted: its agreement with experts or a reference judge. Exits 3 if it cannot."""
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.serialize import to_json
    from bedside.judge_audit import audit as auditing
    from bedside.judge_audit.correct import AUDIT

    request = auditing.AuditRequest(
        judges=tuple(judge or ()),
        reference=reference,
        answers=answers,
        labels=tuple(label or ()),
        label_map=pairs(label_map),
        columns=pairs(column),
        limit=limit,
        adversarial=adversarial,
    )
    settled = load_config_or_default(config, overrides(sets, seed=seed, run=run), "audit")
    sentence = wrote(Path(settled.runs) / settled.run / AUDIT)
    report = api.audit(request, config=settled)
    if json_:
        print_json(to_json(report))
    else:
        terminal.print_audit(OUT, report)
        OUT.print(sentence)
    if not report.trusted:
        raise typer.Exit(3)
