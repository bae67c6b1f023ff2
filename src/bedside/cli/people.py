"""The verbs with a person in them: ``label``, ``chat``, ``forget``."""

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import ERR, OUT, File, Name, Seed, Sets, _loaded, _session, app
from bedside.run import environment


@app.command()
def label(
    prompts: Annotated[Path, typer.Argument(help="Prompts to label; with --confirm, what this command proposed.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Proposals to write: .csv or .jsonl.")] = None,
    learn_from: Annotated[Path | None, typer.Option(help="Labelled prompts; else those of PROMPTS that are.")] = None,
    confirm: Annotated[str | None, typer.Option(metavar="NAME", help="Ask here for each; NAME is noted.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Propose a harm level for prompts that have none, and have people confirm."""
    from bedside.cli import terminal
    from bedside.core.errors import ConfigError
    from bedside.data import labelling as flow

    if confirm is not None:
        done = flow.confirm(prompts, confirm, lambda row, left: environment.level(OUT, row, left))
        OUT.print(f"wrote {prompts}: {done} confirmed")
    elif out is not None:
        terminal.proposed(OUT, flow.propose(prompts, learn_from, out, seed), out)
    else:
        raise ConfigError("say where the proposals go: -o labels.csv; or --confirm NAME to confirm proposals")


@app.command()
def chat(
    adapter: Annotated[
        Path | None, typer.Option(help="A PEFT folder; what the run ships or the target if unset.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system turn to begin with.")] = None,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
    run: Name = None,
) -> None:
    """Talk to a checkpoint. One line a turn; an empty line begins anew, Ctrl-D ends."""
    from bedside.alignment import single_stage, summary

    chosen = _loaded(config, sets, seed=seed, run=run).config
    if run is not None and adapter is None:
        summary.read(Path(chosen.runs) / chosen.run)
    session = _session(chosen)
    said = single_stage.chat(session, adapter, system)
    ERR.print(said.who)
    for line in environment.lines("you: "):
        if not line.strip():
            said.forget()
            continue
        OUT.print(said.answer(line))
        if said.cut:
            ERR.print(f"(cut after {session.sampling.max_new_tokens} tokens; --set generate.max_new_tokens=N for more)")


@app.command()
def forget(
    text: Annotated[str, typer.Argument(help="What the person said, or part of it: 8 characters or more.")],
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    adapters: Annotated[bool, typer.Option("--adapters", help="Remove adapters that learned from it, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and touch nothing.")] = False,
) -> None:
    """Erase a person's words from runs and caches, leaving a tombstone."""
    from bedside.cli import terminal
    from bedside.run import erasure as flow

    terminal.erased(OUT, flow.forget(runs, text, adapters=adapters, dry_run=dry_run), dry_run=dry_run)
