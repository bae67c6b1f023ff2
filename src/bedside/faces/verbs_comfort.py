"""``bedside rewrite`` and ``bedside comfort``: dialogues rewritten and verified; comfort against knowledge."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bedside.core.comforts import Arm, ComfortSummary
from bedside.core.reports import Measure
from bedside.faces import cli, environment
from bedside.faces.tables import MARKS, said

if TYPE_CHECKING:
    from bedside.flows.session import Session
    from bedside.kernel.schema import Config

SHOWN = ("comfort", "primary_comfort", "facts_told", "facts_wrong", "bleu_1", "fact_recall", "false_reassurance")


@cli.app.command()
def rewrite(
    config: cli.File = None,
    sets: cli.Sets = None,
    n: cli.Few = None,
    json_: cli.Json = False,
    seed: cli.Seed = None,
    run: cli.Name = None,
) -> None:
    """Rewrite dialogues: distressed questions, soothing answers, every fact kept or the row dropped with its reason."""
    from bedside.flows import comfort as flow

    chosen = _config(config, sets, n, seed, run)
    warnings.filterwarnings("ignore")
    with environment.Terminal(cli.ERR) as progress:
        session = _session(chosen, progress)
        rows, flows = flow.rewrite(session)
    folder = session.store.root / "dialogues"
    if json_:
        cli._print_json(
            {"rows": {k: len(v) for k, v in rows.items()}, "dropped": {f.step: dict(f.dropped) for f in flows}}
        )
        return
    for told in flows:
        dropped = ", ".join(f"{k} {why}" for why, k in told.dropped.items() if k) or "none"
        cli.OUT.print(f"{told.step}: {told.kept} kept; dropped: {dropped}", markup=False)
    cli.OUT.print(f"wrote {folder}: train, valid, test, sft, kto, dpo and the card", markup=False)


@cli.app.command()
def comfort(
    config: cli.File = None,
    sets: cli.Sets = None,
    n: cli.Few = None,
    json_: cli.Json = False,
    seed: cli.Seed = None,
    run: cli.Name = None,
) -> None:
    """Rewrite; train SFT, KTO and DPO on the same rows; show comfort against knowledge. The same command resumes."""
    from bedside.core.identity import plain
    from bedside.faces import report_comfort
    from bedside.flows import comfort as flow

    chosen = _config(config, sets, n, seed, run)
    warnings.filterwarnings("ignore")
    with environment.Terminal(cli.ERR) as progress:
        session = _session(chosen, progress)
        told = flow.comfort(session)
    page = report_comfort.write(told, session.store.root / "comfort.html")
    if json_:
        cli._print_json(plain(told))
    else:
        show(told)
        cli.OUT.print(f"report: {page}; answers for people to compare: {page.parent / 'ab'}", markup=False)


def show(told: ComfortSummary) -> None:
    """Four models side by side, the paired differences, the gates, the sentence."""
    table = Table(title=f"Sealed dialogues, 95 % intervals, n = {_rows(told)}", title_justify="left", box=None)
    table.add_column("measure", no_wrap=True)
    for arm in told.arms:
        table.add_column(arm.name, no_wrap=True)
    for name in SHOWN:
        table.add_row(name, *(said(arm.measure(name)) for arm in told.arms))
    cli.OUT.print(table)
    for one in told.paired:
        if one.measure.name in ("primary_comfort", "facts_told", "bleu_1"):
            cli.OUT.print(f"{one.arm} − target, {one.measure.name}: {_change(one.measure)}", markup=False)
    for gate in told.gates:
        cli.OUT.print(f"{MARKS[gate.state]} {gate.state.value}: {gate.name} {gate.limit} ({gate.reason})", markup=False)
    cli.OUT.print(f"published direction: {told.direction}", markup=False)
    cli.OUT.print(f"worst subgroup: {told.worst}", markup=False)
    cli.OUT.print(f"\n{told.verdict}", markup=False)


def _rows(told: ComfortSummary) -> int:
    first: Arm = told.arms[0]
    return first.measure("comfort").n


def _change(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.value:+.3f} [{measure.low:+.3f}, {measure.high:+.3f}], n = {measure.n}"


def _config(config: Path | None, sets: list[str] | None, n: int | None, seed: int | None, run: str | None) -> "Config":
    """The file named, else bedside.yaml here, else the packaged comfort.yaml."""
    from bedside.kernel.templates import path

    if config is None and not Path("bedside.yaml").exists():
        return cli._read(path("comfort.yaml"), [*(sets or []), *cli._said(n, seed, run)]).config
    return cli._loaded(config, sets, n, seed, run).config


def _session(config: "Config", progress: environment.Terminal) -> "Session":
    from bedside.faces import api

    session = api.session(config, progress)
    api._keep(session.store.root, config)
    return session
