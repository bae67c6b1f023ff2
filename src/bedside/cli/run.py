"""The verbs of a whole run, from ``init`` to ``report``, and those about the config."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bedside.cli.options import (
    OUT,
    File,
    Json,
    Limit,
    Name,
    Seed,
    Sets,
    app,
    find_run,
    load_config,
    load_data_config,
    overrides,
    print_json,
)
from bedside.run import launcher

if TYPE_CHECKING:
    from bedside.api import Run
    from bedside.config.schema import Config


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write. The folder is made if it does not exist.")] = Path(),
) -> None:
    """Write a commented bedside.yaml and a small example data file."""
    from bedside import api

    for file in api.init(folder):
        OUT.print(f"wrote {file}")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    OUT.print(f"next: {where}bedside check, then bedside align; your own model and prompts: edit bedside.yaml")


@app.command()
def check(config: File = None, sets: Sets = None, limit: Limit = None, json_: Json = False, seed: Seed = None) -> None:
    """Find everything that could go wrong, before it does: data, limits, judges, room, time."""
    from bedside import api
    from bedside.cli import terminal

    result = api.check(load_data_config(config, overrides(sets, limit=limit, seed=seed)))
    if json_:
        print_json(result.records())
    else:
        terminal.print_checks(OUT, result.findings)
    if not result.passed:
        raise typer.Exit(3)


@app.command()
def demo(json_: Json = False, seed: Seed = None, run: Name = None, sets: Sets = None) -> None:
    """Run the whole loop, with real training, on the embedded model and the synthetic clinic."""
    from bedside import api
    from bedside.cli import terminal
    from bedside.config.rendering import path

    result = _align(api.load(path("demo.yaml"), overrides(sets, seed=seed, run=run)))
    if json_:
        print_json(result.as_json())
    else:
        terminal.print_run(OUT, result)
        terminal.print_example(OUT, result.summary)


@app.command()
def align(
    config: File = None,
    sets: Sets = None,
    limit: Limit = None,
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
) -> None:
    """Run the cycles: answer, judge, build preferences, train, select. The same command resumes."""
    from bedside.cli import terminal

    result = _align(load_data_config(config, overrides(sets, limit=limit, seed=seed, run=run)))
    if json_:
        print_json(result.as_json())
    else:
        terminal.print_run(OUT, result)
    if result.released is None:
        raise typer.Exit(3)


def _align(config: "Config") -> "Run":
    from bedside import api

    if launcher.STARTED.rank > 0:
        logging.disable()
        api.align(config)
        raise typer.Exit(0)  # the first process prints the result
    return api.align(config)


@app.command()
def select(config: File = None, sets: Sets = None, run: Name = None, json_: Json = False) -> None:
    """Show which candidate a run selected, which may be released, and at which alpha the winner changes."""
    from bedside import api
    from bedside.cli import terminal

    selection = api.select(find_run(config, sets, run))
    if json_:
        print_json(selection.as_json())
    else:
        terminal.print_selection(OUT, selection.summary)


@app.command()
def report(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs side by side: folders, or names in runs/.")] = None,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; report.html of the run by default.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write the report of a finished run, or of several side by side, as one HTML file."""
    from bedside import api

    if len(runs or []) > 1:
        OUT.print(f"wrote {api.write_report(runs or [], out)}: {len(runs or [])} runs side by side")
        return
    result = api.read_run(runs[0] if runs else find_run(config, sets, run))
    if json_:
        print_json(result.as_json())
    else:
        OUT.print(f"{result.verdict}\nwrote {result.report(out)}")


@app.command()
def config(config: File = None, sets: Sets = None, json_: Json = False) -> None:
    """Print the resolved config, with the origin of each value."""
    from bedside.config import loader

    loaded = load_config(config, sets)
    if json_:
        print_json({"config": loader.tables(loaded.config), "origins": dict(loaded.origins)})
    else:
        OUT.print(loader.dump(loaded), end="")


@app.command()
def plugins(json_: Json = False) -> None:
    """List the registered plug-ins, by kind."""
    from bedside import api

    names = api.list_plugins()
    if json_:
        print_json(names)
    else:
        for kind, of_kind in names.items():
            OUT.print(f"{kind:10} {', '.join(of_kind)}")
