"""The command line. ``bedside VERB --help`` says what each verb does.

Exit codes: 0 done, 1 error, 2 usage, 3 a gate failed and nothing ships, 130 interrupted (the same command
continues). Results go to stdout, progress and errors to stderr. Torch is loaded by the verbs that need it.
"""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bedside.faces import environment

if TYPE_CHECKING:
    from bedside.faces.api import Run
    from bedside.flows.session import Session
    from bedside.kernel.config import Loaded
    from bedside.kernel.schema import Config

app: typer.Typer = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a healthcare chat assistant safe, helpful, accurate and kind, and prove it.",
)
OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, highlight=False)

File = Annotated[Path | None, typer.Option("--config", "-c", help="The config file, bedside.yaml.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a.b=c: wins over the file. May be repeated.")]
Few = Annotated[int | None, typer.Option("-n", min=1, help="Try on at most this many prompts of each part.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Every draw comes from it.")]
Name = Annotated[str | None, typer.Option("--run", help="Name of the run; the same name resumes.")]
To = Annotated[Path, typer.Option("--out", "-o", help="File or folder to write.")]


def main() -> None:
    with environment.clean_exit(ERR):
        app(standalone_mode=True)


def _version(wanted: bool) -> None:
    if wanted:
        from bedside import __version__

        OUT.print(__version__)
        raise typer.Exit


@app.callback()
def bedside(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None:
    """Make a healthcare chat assistant safe, helpful, accurate and kind, and prove it."""


@app.command()
def demo(json_: Json = False, seed: Seed = None, run: Name = None, sets: Sets = None) -> None:
    """The whole loop, really trained, on the embedded model and the synthetic clinic."""
    from bedside.faces import tables
    from bedside.kernel.templates import path

    done = _align(_read(path("demo.yaml"), [*(sets or []), *_said(None, seed, run)]).config)
    if json_:
        _print_json(done.as_json())
    else:
        tables.run(OUT, done)
        tables.example(OUT, done.summary)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")] = Path(),
) -> None:
    """Write a commented bedside.yaml and a tiny example data file."""
    from bedside.core.errors import ConfigError
    from bedside.kernel.tables import write_text
    from bedside.kernel.templates import source

    files = {"bedside.yaml": source("bedside.yaml"), "data/prompts.jsonl": source("prompts.jsonl")}
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise ConfigError(f"{folder / there[0]} is there already; remove it or choose another folder")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
        OUT.print(f"wrote {folder / name}")
    OUT.print(f"next: bedside align -c {folder / 'bedside.yaml'}")


@app.command()
def check(config: File = None, sets: Sets = None, n: Few = None, json_: Json = False, seed: Seed = None) -> None:
    """Everything that could go wrong, before it does: data, limits, judges, room, time."""
    from bedside.core.reports import GateState
    from bedside.faces import api, tables

    chosen = _loaded(config, sets, n, seed).config
    warnings.filterwarnings("ignore")
    found = api.check(chosen)
    if json_:
        _print_json([{"name": g.name, "state": g.state.value, "reason": g.reason} for g in found])
    else:
        tables.findings(OUT, found)
    if any(gate.state is GateState.FAIL for gate in found):
        raise typer.Exit(3)


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
    from bedside.faces import tables

    done = _align(_loaded(config, sets, n, seed, run).config)
    if json_:
        _print_json(done.as_json())
    else:
        tables.run(OUT, done)
    if done.shipped is None:
        raise typer.Exit(3)


@app.command()
def train(
    objective: Annotated[str, typer.Argument(help="sft, dpo or kto.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="TRL-shaped rows: JSONL, CSV or Parquet.")],
    out: To,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
) -> None:
    """One LoRA training on TRL-shaped data; writes a PEFT folder."""
    from bedside.flows import single

    session = _session(_loaded(config, sets, seed=seed).config)
    checkpoint = single.train(session, objective, data, out)
    OUT.print(f"wrote {out}: {objective} on {checkpoint.learned_from}, adapter {checkpoint.adapter}")


@app.command()
def generate(
    out: To,
    part: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    adapter: Annotated[
        Path | None, typer.Option(help="A PEFT folder to answer with; the target as given if unset.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    n: Few = None,
    seed: Seed = None,
) -> None:
    """Answer one part's prompts; writes responses as JSON Lines."""
    from bedside.flows import single

    session = _session(_loaded(config, sets, n, seed).config)
    rows = single.generate(session, part, adapter, out)
    OUT.print(f"wrote {out}: {rows} responses")


@app.command()
def judge(
    responses: Annotated[Path, typer.Argument(help="Responses that `bedside generate` wrote.")],
    out: To,
    judge: Annotated[str | None, typer.Option("--judge", help="A key of judges; select.judge if unset.")] = None,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
) -> None:
    """Judge responses; writes verdicts as JSON Lines."""
    from bedside.flows import single

    session = _session(_loaded(config, sets, seed=seed).config)
    read, unreadable = single.judge(session, responses, judge, out)
    OUT.print(f"wrote {out}: {read} verdicts, {unreadable} unreadable")


@app.command()
def evaluate(
    responses: Annotated[Path, typer.Argument(help="Responses that `bedside generate` wrote.")],
    verdicts: Annotated[Path, typer.Argument(help="Verdicts that `bedside judge` wrote.")],
    config: File = None,
    sets: Sets = None,
    json_: Json = False,
) -> None:
    """Measures of judged responses, with the gates of select.require."""
    from bedside.faces import tables
    from bedside.flows import figures

    told = figures.evaluate(_loaded(config, sets).config, responses, verdicts)
    if json_:
        _print_json(told.as_json())
    else:
        tables.evaluation(OUT, told)


@app.command()
def select(config: File = None, sets: Sets = None, run: Name = None, json_: Json = False) -> None:
    """Which candidate a run carried, which may ship, and at which alpha the winner changes."""
    from bedside.faces import tables
    from bedside.flows import figures, summary

    told = summary.read(_folder(config, sets, run))
    if json_:
        _print_json(figures.selection(told))
    else:
        tables.selection(OUT, told)


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
    from bedside.faces.api import Run
    from bedside.faces.report import write
    from bedside.flows import summary

    folders = [_run_folder(name) for name in runs or []]
    if len(folders) > 1:
        told = [summary.read(folder) for folder in folders]
        OUT.print(f"wrote {write(told, out or Path('report.html'))}: {len(told)} runs side by side", markup=False)
        return
    folder = folders[0] if folders else _folder(config, sets, run)
    done = Run(summary.read(folder), folder)
    if json_:
        _print_json(done.as_json())
    else:
        OUT.print(f"{done.verdict}\nwrote {done.report(out)}", markup=False)


@app.command()
def label(
    prompts: Annotated[Path, typer.Argument(help="Prompts to label; with --confirm, what this command proposed.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Proposals to write: .csv or .jsonl.")] = None,
    learn_from: Annotated[Path | None, typer.Option(help="Labelled prompts; else those of PROMPTS that are.")] = None,
    confirm: Annotated[str | None, typer.Option(metavar="NAME", help="Ask here for each; NAME is noted.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Propose a harm level for prompts that have none, and have people confirm."""
    from bedside.core.errors import ConfigError
    from bedside.faces import tables
    from bedside.flows import label as flow

    if confirm is not None:
        done = flow.confirm(prompts, confirm, lambda row, left: environment.level(OUT, row, left))
        OUT.print(f"wrote {prompts}: {done} confirmed", markup=False)
    elif out is not None:
        tables.proposed(OUT, flow.propose(prompts, learn_from, out, seed), out)
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
    from bedside.flows import single

    session = _session(_loaded(config, sets, seed=seed, run=run).config)
    said = single.chat(session, adapter, system)
    ERR.print(said.who, markup=False)
    for line in environment.lines("you: "):
        OUT.print(said.answer(line), markup=False) if line.strip() else said.forget()


@app.command()
def forget(
    text: Annotated[str, typer.Argument(help="What the person said, or part of it: 8 characters or more.")],
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    adapters: Annotated[bool, typer.Option("--adapters", help="Remove adapters that learned from it, too.")] = False,
) -> None:
    """Erase a person's words from runs and caches, leaving a tombstone."""
    from bedside.faces import tables
    from bedside.flows import forget as flow

    tables.erased(OUT, flow.forget(runs, text, adapters=adapters))


@app.command()
def config(config: File = None, sets: Sets = None, json_: Json = False) -> None:
    """The resolved config, with where each value came from."""
    from bedside.kernel import config as configs

    loaded = _loaded(config, sets)
    if json_:
        _print_json({"config": configs.tables(loaded.config), "origins": dict(loaded.origins)})
    else:
        OUT.print(configs.dump(loaded), markup=False, end="")


@app.command()
def plugins(json_: Json = False) -> None:
    """What is registered, by kind."""
    from bedside.kernel import registry

    found = {kind: registry.names(kind) for kind in registry.FOLDERS}
    if json_:
        _print_json(found)
    else:
        for kind, names in found.items():
            OUT.print(f"{kind:10} {', '.join(names)}", markup=False)


def _loaded(
    file: Path | None,
    sets: list[str] | None = None,
    n: int | None = None,
    seed: int | None = None,
    run: str | None = None,
) -> "Loaded[Config]":
    """The file named, else bedside.yaml here, with what the options say over it."""
    from bedside.core.errors import ConfigError

    path = file or Path("bedside.yaml")
    if file is None and not path.exists():
        raise ConfigError("no config here: give -c FILE, or write one with `bedside init`")
    return _read(path, [*(sets or []), *_said(n, seed, run)])


def _read(path: Path, sets: list[str]) -> "Loaded[Config]":
    from bedside.kernel import config as configs
    from bedside.kernel.schema import Config

    return configs.load(Config, path, sets)


def _said(n: int | None, seed: int | None, run: str | None) -> list[str]:
    """Options as ``--set`` would say them."""
    few = [f"data.{part}.limit={n}" for part in ("train", "valid", "test")] if n is not None else []
    seeded = [f"seed={seed}"] if seed is not None else []
    return [*few, *seeded, *([f"run={run}"] if run is not None else [])]


def _folder(file: Path | None, sets: list[str] | None, run: str | None) -> Path:
    """The folder of a run; ``--run`` alone is enough where runs/ is here."""
    if file is None and run is not None and not Path("bedside.yaml").exists():
        return Path("runs") / run
    config = _loaded(file, sets, run=run).config
    return Path(config.runs) / config.run


def _run_folder(name: str) -> Path:
    """A folder as it is, or the run of that name in runs/."""
    return Path(name) if Path(name).is_dir() else Path("runs") / name


def _align(config: "Config") -> "Run":
    from bedside.faces import api

    warnings.filterwarnings("ignore")
    with environment.Terminal(ERR) as progress:
        return api.align(config, progress)


def _session(config: "Config") -> "Session":
    from bedside.faces import api

    warnings.filterwarnings("ignore")
    return api.session(config, environment.Terminal(ERR))


def _print_json(value: Any) -> None:
    OUT.print_json(json.dumps(value, ensure_ascii=False))


from bedside.faces import verbs_comfort  # noqa: E402, F401
