"""The app, the options that verbs share, and how a verb finds its config, its run folder and its session."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from bedside.run import environment, launcher

if TYPE_CHECKING:
    from bedside.api import Run
    from bedside.config.loader import Loaded
    from bedside.config.schema import Config
    from bedside.run.session import Session


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise environment.Interrupted from None


app: typer.Typer = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a healthcare chat assistant safe, helpful, accurate and kind, and prove it.",
)
OUT = Console(soft_wrap=True, highlight=False, markup=False)
ERR = Console(stderr=True, highlight=False, markup=False)

File = Annotated[Path | None, typer.Option("--config", "-c", help="The config file, bedside.yaml.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a.b=c: wins over the file. May be repeated.")]
Few = Annotated[
    int | None,
    typer.Option("-n", min=1, help="Try on at most this many prompts of each part, of every harm level some."),
]
Columns = Annotated[list[str] | None, typer.Option("--column", help="OURS=THEIRS, as prompt=goal. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Every draw comes from it.")]
Name = Annotated[str | None, typer.Option("--run", help="Name of the run; the same name resumes.")]
SHARED = ("align", "demo")
"""Verbs that several processes can share."""
PARTS = ("train", "valid", "test")
To = Annotated[Path, typer.Option("--out", "-o", help="File or folder to write.")]


def _version(wanted: bool) -> None:
    if wanted:
        from bedside import __version__

        OUT.print(__version__)
        raise typer.Exit


@app.callback()
def bedside(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None:
    """Make a healthcare chat assistant safe, helpful, accurate and kind, and prove it."""
    if ctx.invoked_subcommand not in SHARED:
        launcher.require_one_process(f"bedside {ctx.invoked_subcommand}")


def _loaded(
    file: Path | None,
    sets: list[str] | None = None,
    seed: int | None = None,
    run: str | None = None,
    n: int | None = None,
) -> "Loaded[Config]":
    """The file named, else bedside.yaml here, with what the options say over it."""
    from bedside.core.errors import ConfigError

    path = file or Path("bedside.yaml")
    if file is None and not path.exists():
        raise ConfigError("no config here: give -c FILE, or write one with `bedside init`")
    return _read(path, _said(sets, seed, run, n))


def _read(path: Path, sets: list[str]) -> "Loaded[Config]":
    from bedside.config import loader as configs
    from bedside.config.schema import Config

    return configs.load(Config, path, sets)


def _said(sets: list[str] | None, seed: int | None, run: str | None, n: int | None = None) -> list[str]:
    """What ``--set`` and the options beside it say, as ``--set`` says it. ConfigError for what two of them say."""
    from bedside.core.errors import ConfigError

    options = {"seed": ("--seed", seed), "run": ("--run", run)}
    options |= {f"data.{part}.limit": ("-n", n) for part in PARTS}
    told = {key: (option, value) for key, (option, value) in options.items() if value is not None}
    for text in sets or []:
        option, value = told.get(text.partition("=")[0].strip(), (None, None))
        if option is not None:
            raise ConfigError(f"--set {text} and {option} {value} say the same key; leave one out")
    return [*(sets or []), *(f"{key}={value}" for key, (_, value) in told.items())]


def _experiment(
    file: Path | None, sets: list[str] | None, n: int | None, seed: int | None, run: str | None = None
) -> "Config":
    """The config of a verb that reads the data: of its prompts at most ``n`` of each part."""
    config = _loaded(file, sets, seed, run, n).config
    _here(config, file or Path("bedside.yaml"))
    return config


def _here(config: "Config", file: Path) -> None:
    """ConfigError for data that stands beside the config, and not in the folder that paths count from."""
    from bedside.core.errors import ConfigError

    for part in PARTS:
        path = getattr(getattr(config.data, part).dataset, "path", None)
        if path and not Path(path).exists() and (file.parent / path).exists():
            raise ConfigError(
                f"data.{part}.path: there is no {path} in {Path.cwd()}, from where paths count; it stands beside "
                f"{file}: go there, cd {file.parent}, or write {file.parent / path}"
            )


def _folder(file: Path | None, sets: list[str] | None, run: str | None) -> Path:
    """The folder of a run; ``--run`` alone is enough where runs/ is here."""
    if file is None and run is not None and not Path("bedside.yaml").exists():
        return Path("runs") / run
    config = _loaded(file, sets, run=run).config
    return Path(config.runs) / config.run


def _run_folder(name: str) -> Path:
    """A folder as it is, or the run of that name in runs/."""
    return Path(name) if Path(name).is_dir() else Path("runs") / name


@contextmanager
def _working() -> Iterator[environment.Terminal]:
    """Progress for a person to see; other libraries' warnings belong to their authors."""
    warnings.filterwarnings("ignore")
    with environment.Terminal(ERR) as progress:
        yield progress


def _align(config: "Config") -> "Run":
    from bedside import api

    if launcher.STARTED.rank > 0:
        warnings.filterwarnings("ignore")
        logging.disable()
        api.align(config)
        raise typer.Exit(0)  # the first tells what came of it
    with _working() as progress:
        return api.align(config, progress)


def _session(config: "Config", *, target: bool = True) -> "Session":
    from bedside import api

    warnings.filterwarnings("ignore")
    return api.session(config, environment.Terminal(ERR), target=target)


def _writes(to: Path) -> str:
    """What to say of ``to`` when it is written; asked before."""
    return f"replaced {to}" if to.exists() else f"wrote {to}"


def _print_json(value: Any) -> None:
    OUT.print_json(json.dumps(value, ensure_ascii=False))
