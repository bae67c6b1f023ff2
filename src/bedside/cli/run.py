"""The verbs of a whole run, from ``init`` to ``report``."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import (
    OUT,
    Few,
    File,
    Json,
    Name,
    Seed,
    Sets,
    _align,
    _experiment,
    _folder,
    _loaded,
    _print_json,
    _read,
    _run_folder,
    _said,
    app,
)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")] = Path(),
) -> None:
    """Write a commented bedside.yaml and a tiny example data file."""
    from bedside.config.rendering import source
    from bedside.core.errors import ConfigError
    from bedside.data.io import write_text

    if file := next((place for place in (folder, *folder.parents) if place.is_file()), None):
        raise ConfigError(f"{file} is a file; name a folder, which is made if it is not there")
    files = {"bedside.yaml": source("bedside.yaml"), "data/prompts.jsonl": source("prompts.jsonl")}
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise ConfigError(f"{folder / there[0]} is there already; remove it or choose another folder")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
        OUT.print(f"wrote {folder / name}")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    OUT.print(f"next: {where}bedside check, then bedside align; your own model and prompts: edit bedside.yaml")


@app.command()
def check(config: File = None, sets: Sets = None, n: Few = None, json_: Json = False, seed: Seed = None) -> None:
    """Everything that could go wrong, before it does: data, limits, judges, room, time."""
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.results import GateState

    chosen = _experiment(config, sets, n, seed)
    warnings.filterwarnings("ignore")
    found = api.check(chosen)
    if json_:
        _print_json([{"name": g.name, "state": g.state.value, "reason": g.reason} for g in found])
    else:
        terminal.findings(OUT, found)
    if any(gate.state is GateState.FAIL for gate in found):
        raise typer.Exit(3)


@app.command()
def demo(json_: Json = False, seed: Seed = None, run: Name = None, sets: Sets = None) -> None:
    """The whole loop, really trained, on the embedded model and the synthetic clinic."""
    from bedside.cli import terminal
    from bedside.config.rendering import path

    done = _align(_read(path("demo.yaml"), _said(sets, seed, run)).config)
    if json_:
        _print_json(done.as_json())
    else:
        terminal.run(OUT, done)
        terminal.example(OUT, done.summary)


@app.command()
def align(
    config: File = None,
    sets: Sets = None,
    n: Few = None,
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
) -> None:
    """Run the cycles: answer, judge, prefer, train, select. The same command resumes."""
    from bedside.cli import terminal

    done = _align(_experiment(config, sets, n, seed, run))
    if json_:
        _print_json(done.as_json())
    else:
        terminal.run(OUT, done)
    if done.shipped is None:
        raise typer.Exit(3)


@app.command()
def select(config: File = None, sets: Sets = None, run: Name = None, json_: Json = False) -> None:
    """Which candidate a run carried, which may ship, and at which alpha the winner changes."""
    from bedside.alignment import offline, summary
    from bedside.cli import terminal

    told = summary.read(_folder(config, sets, run))
    if json_:
        _print_json(offline.selection_report(told))
    else:
        terminal.selection_tables(OUT, told)


@app.command()
def report(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs side by side: folders, or names in runs/.")] = None,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; report.html of the run if unset.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write the report of a finished run, or of several side by side, as one HTML file."""
    from bedside.alignment import summary
    from bedside.api import Run
    from bedside.judge_audit import correct
    from bedside.report.html import write

    folders = [_run_folder(name) for name in runs or []]
    if len(folders) > 1:
        told = [summary.read(folder) for folder in folders]
        judges = [correct.read(folder) for folder in folders]
        OUT.print(f"wrote {write(told, out or Path('report.html'), judges)}: {len(told)} runs side by side")
        return
    folder = folders[0] if folders else _folder(config, sets, run)
    done = Run(summary.read(folder), folder)
    if json_:
        _print_json(done.as_json())
    else:
        OUT.print(f"{done.verdict}\nwrote {done.report(out)}")


@app.command()
def config(config: File = None, sets: Sets = None, json_: Json = False) -> None:
    """The resolved config, with where each value came from."""
    from bedside.config import loader as configs

    loaded = _loaded(config, sets)
    if json_:
        _print_json({"config": configs.tables(loaded.config), "origins": dict(loaded.origins)})
    else:
        OUT.print(configs.dump(loaded), end="")


@app.command()
def plugins(json_: Json = False) -> None:
    """What is registered, by kind."""
    from bedside.config import plugins as registry

    found = {kind: registry.names(kind) for kind in registry.BUILT_IN}
    if json_:
        _print_json(found)
    else:
        for kind, names in found.items():
            OUT.print(f"{kind:10} {', '.join(names)}")
