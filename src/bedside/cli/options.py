"""The app, the options that verbs share, and how a verb finds its config and its run folder."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import bedside
from bedside.config.renamed import COMMANDS, OPTIONS
from bedside.core.errors import ConfigError
from bedside.run import environment, launcher

OUT = environment.Terminal(soft_wrap=True)
ERR = environment.Terminal(stderr=True)


class Verbs(TyperGroup):
    """The commands. An old name of a command or an option ends with one line that gives the new name."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise environment.Interrupted from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        options = [word.partition("=")[0] for word in args[1:]]
        renamed = {args[0]: COMMANDS.get(args[0])} | {option: OPTIONS.get(option) for option in options}
        for old, new in renamed.items():
            if new is not None:
                ERR.print(f"error: {old} is now called {new}", soft_wrap=True)
                raise typer.Exit(2)
        return super().resolve_command(ctx, args)


app: typer.Typer = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a healthcare chat assistant safe, helpful, accurate and kind, and show the evidence.",
)

File = Annotated[Path | None, typer.Option("--config", "-c", help="The config file; bedside.yaml by default.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a.b=c. It wins over the config file. May be repeated.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help="Use at most this many prompts of each part, some of every harm level."),
]
Rehearse = Annotated[
    bool,
    typer.Option("--rehearse", help="Show estimates on the test and decide nothing; exits 0. -n always rehearses."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="OURS=THEIRS: another name of a column, as in prompt=goal. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="The seed of every random draw.")]
Name = Annotated[str | None, typer.Option("--run", help="Name of the run. The same name resumes.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file or folder to write.")]
SHARED = ("align", "demo")
"""Verbs that several processes can share."""
PARTS = ("train", "valid", "test")


@app.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with --json also those of its dependencies.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --version: print JSON to stdout.")] = False,
) -> None:
    """Make a healthcare chat assistant safe, helpful, accurate and kind, and show the evidence."""
    if ctx.invoked_subcommand is None:
        if not version:
            ctx.fail("Missing command.")
        show(json_, _versions, lambda console, text: console.print(text), bedside.__version__)
        raise typer.Exit
    if ctx.invoked_subcommand not in SHARED:
        launcher.require_one_process(f"bedside {ctx.invoked_subcommand}")
    warnings.filterwarnings("ignore")  # warnings of other libraries are no use to a person here


def _versions() -> dict[str, str]:
    from bedside.run import doctor

    return doctor.versions()


def overrides(
    sets: list[str] | None,
    *,
    seed: int | None = None,
    run: str | None = None,
    limit: int | None = None,
    rehearse: bool = False,
) -> list[str]:
    """``--set`` and the other options as a list for ``--set``. ConfigError if two give one key."""
    options = {
        "seed": ("--seed", seed),
        "run": ("--run", run),
        "rehearse": ("--rehearse", "true" if rehearse else None),
    }
    options |= {f"data.{part}.limit": ("-n", limit) for part in PARTS}
    given = {key: (option, value) for key, (option, value) in options.items() if value is not None}
    for text in sets or []:
        option, value = given.get(text.partition("=")[0].strip(), (None, None))
        if option is not None:
            raise ConfigError(f"--set {text} and {option} {value} give the same key; leave one out")
    return [*(sets or []), *(f"{key}={value}" for key, (_, value) in given.items())]


def load_config(file: Path | None, sets: list[str] | None) -> "bedside.Loaded[bedside.Config]":
    """The config in ``file``, else in bedside.yaml here, with ``sets`` over it. ConfigError if there is none."""
    if file is None and not Path("bedside.yaml").exists():
        raise ConfigError("no config here: give -c FILE, or write one with `bedside init`")
    return bedside.resolve(file or "bedside.yaml", sets or ())


def load_config_or_default(file: Path | None, sets: list[str], run: str) -> "bedside.Config":
    """The config of ``load_config``. If there is none, the defaults, in a run called ``run``."""
    from bedside.api.configs import default_config

    if file is None and not Path("bedside.yaml").exists():
        return default_config(run, sets)
    return load_config(file, sets).config


def load_data_config(file: Path | None, sets: list[str]) -> "bedside.Config":
    """The config of a verb that reads the data. ConfigError if the data is not here but beside the config."""
    config, file = load_config(file, sets).config, file or Path("bedside.yaml")
    for part in PARTS:
        path = getattr(getattr(config.data, part).dataset, "path", None)
        if path and not Path(path).exists() and (file.parent / path).exists():
            raise ConfigError(
                f"data.{part}.path: there is no {path} in {Path.cwd()}, where relative paths start. It is beside "
                f"{file}: run cd {file.parent} first, or write {file.parent / path}"
            )
    return config


def find_run(file: Path | None, sets: list[str] | None, run: str | None) -> Path:
    """The folder of a run. ``--run`` alone is enough if ``runs/`` is in this folder."""
    if file is None and run is not None and not Path("bedside.yaml").exists():
        return Path("runs") / run
    config = load_config(file, overrides(sets, run=run)).config
    return Path(config.runs) / config.run


def pairs(texts: list[str] | None) -> dict[str, str]:
    """``["a=b"]`` as ``{"a": "b"}``."""
    table = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise ConfigError(f"{text!r} is not of the form A=B, as in --label-map yes=accept or --column prompt=goal")
        table[key.strip()] = value.strip()
    return table


def numbers(texts: list[str] | None) -> dict[str, float]:
    """``["a=2"]`` as ``{"a": 2.0}``."""
    table = {}
    for name, text in pairs(texts).items():
        try:
            table[name] = float(text)
        except ValueError:
            table[name] = 0.0
        if not 0 < table[name] < float("inf"):
            raise ConfigError(f"--score {name}={text}: the greatest score is a number above 0, as in --score {name}=2")
    return table


def wrote(path: Path) -> str:
    """What to print after ``path`` is written. Call it before writing."""
    return f"replaced {path}" if path.exists() else f"wrote {path}"


def show(json_: bool, value: Callable[[], Any], print_result: Callable[..., None], *results: Any) -> None:
    """Print ``value()`` as JSON, or ``results`` for a person with ``print_result``."""
    if json_:
        OUT.print_json(json.dumps(value(), ensure_ascii=False))
    else:
        print_result(OUT, *results)


def require(passed: bool) -> None:
    """Exit with code 3 if a gate did not pass."""
    if not passed:
        raise typer.Exit(3)
