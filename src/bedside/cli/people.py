"""The verbs with a person in them: ``label``, ``chat``, ``erase``."""

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import ERR, OUT, File, Name, Seed, Sets, app, load_config, overrides
from bedside.run import environment


@app.command()
def label(
    prompts: Annotated[Path, typer.Argument(help="Prompts to label; with --confirm, the proposals of this command.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The proposals to write: .csv or .jsonl.")] = None,
    learn_from: Annotated[
        Path | None, typer.Option(help="Labelled prompts to learn from; the labelled ones of PROMPTS by default.")
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask here about each proposal, and write NAME beside the level.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of every random draw.")] = 0,
) -> None:
    """Propose a harm level for prompts that have none, and let people confirm it."""
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.errors import ConfigError

    if confirm is not None:
        n = api.confirm_labels(prompts, confirm, lambda row, left: environment.ask_harm_level(OUT, row, left))
        OUT.print(f"wrote {prompts}: {n} confirmed")
    elif out is not None:
        terminal.print_proposals(OUT, api.label(prompts, out, learn_from=learn_from, seed=seed), out)
    else:
        raise ConfigError("say where the proposals go: -o labels.csv; or --confirm NAME to confirm proposals")


@app.command()
def chat(
    adapter: Annotated[
        Path | None, typer.Option(help="A PEFT folder; by default the run's released adapter, else the target.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system turn to begin with.")] = None,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
    run: Name = None,
) -> None:
    """Talk to a checkpoint. One line is one turn; an empty line starts a new conversation, Ctrl-D ends."""
    from bedside import api

    settled = load_config(config, overrides(sets, seed=seed, run=run)).config
    if run is not None and adapter is None:
        api.read_run(Path(settled.runs) / settled.run)
    talk = api.chat(settled, adapter=adapter, system=system)
    ERR.print(talk.who)
    for line in environment.read_lines("you: "):
        if not line.strip():
            talk.clear()
            continue
        OUT.print(talk.answer(line))
        if talk.split:
            ERR.print(f"(cut after {talk.sampling.max_new_tokens} tokens; --set generate.max_new_tokens=N for more)")


@app.command()
def erase(
    text: Annotated[str, typer.Argument(help="What the person wrote, or part of it: 8 characters or more.")],
    runs: Annotated[Path, typer.Option(help="The folder of all runs.")] = Path("runs"),
    adapters: Annotated[bool, typer.Option("--adapters", help="Also remove adapters that learned from it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be erased, and change nothing.")] = False,
) -> None:
    """Erase a person's words from runs and caches. The events of the run record that something was erased."""
    from bedside import api
    from bedside.cli import terminal

    terminal.print_erasure(OUT, api.erase(text, runs, adapters=adapters, dry_run=dry_run))
