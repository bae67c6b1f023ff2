"""The verbs about judges: ``audit``, and what ``train judge`` does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bedside.cli import options
from bedside.cli.options import Columns, File, Json, Name, Seed, Sets, app

if TYPE_CHECKING:
    from bedside.config.plugins import Plugin
    from bedside.config.schema import Config
    from bedside.run.session import Session

Judges = Annotated[list[str] | None, typer.Option("--judge", help="A key of judges, or a kind. May be repeated.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="A column of labels, one a rater. May be repeated.")]
Values = Annotated[list[str] | None, typer.Option("--value", help="SEEN=MEANS, as yes=accept no=not_accept.")]


@app.command()
def audit(
    answers: Annotated[
        Path | None, typer.Argument(help="Answers: what `generate` wrote, or columns prompt and response.")
    ] = None,
    judge: Judges = None,
    against: Annotated[str | None, typer.Option(help="The reference, a key of judges; select.judge if unset.")] = None,
    label: Labels = None,
    value: Values = None,
    column: Columns = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to compare, by level and style.")] = 500,
    hostile: Annotated[bool, typer.Option("--hostile", help="Try to talk the judges out of what they read.")] = False,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    seed: Seed = None,
    json_: Json = False,
) -> None:
    """Can a judge be trusted? Its agreement with experts or a reference judge, and what turns it."""
    from bedside.cli import terminal
    from bedside.judge_audit import audit as flow
    from bedside.judge_audit import correct

    asked = flow.Asked(
        tuple(judge or ()), against, answers, tuple(label or ()), pairs(value), pairs(column), n, hostile
    )
    chosen = settled(config, sets, seed=seed, run=run, default="audit")
    who = flow.bench(chosen, asked)
    said = options._writes(Path(chosen.runs) / chosen.run / correct.AUDIT)
    told = flow.audit(session_for(chosen, who.plugins), who, asked)
    if json_:
        options._print_json(flow.as_json(told))
    else:
        terminal.audits(options.OUT, told)
        options.OUT.print(said)
    if not flow.trusted(told):
        raise typer.Exit(3)


def train_judge(
    config: "Config", data: Path, out: Path, described: tuple[list[str] | None, ...], learning_rate: float | None
) -> None:
    """LoRA on labelled verdicts; prints kappa on the answers held out, and what to write into the config."""
    from bedside.cli import terminal
    from bedside.judge_audit import audit as auditing
    from bedside.judge_audit import finetune as flow

    label, value, column = described
    asked = auditing.Asked((), None, data, tuple(label or ("label",)), pairs(value), pairs(column))
    session = options._session(config)
    terminal.trained(options.OUT, flow.train(session, auditing.labelled(asked), out, learning_rate))


def pairs(texts: list[str] | None) -> dict[str, str]:
    """``a=b`` to a: b."""
    from bedside.core.errors import ConfigError

    told = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise ConfigError(f"{text!r} is not of the form A=B, as in --value yes=accept or --column prompt=goal")
        told[key.strip()] = value.strip()
    return told


def settled(file: Path | None, sets: list[str] | None, *, seed: int | None, run: str | None, default: str) -> "Config":
    """The config as for any verb; where there is none here, one in which only judges and limits matter."""
    from bedside.config import loader as configs
    from bedside.config.schema import Config

    if file is not None or Path("bedside.yaml").exists():
        return options._loaded(file, sets, seed=seed, run=run).config
    data = {part: {"kind": "clinic", "part": part, "n": 1} for part in ("train", "valid", "test")}
    plain = {"run": default, "target": {"kind": "local", "model": "embedded"}, "data": data}
    return configs.load(Config, None, options._said(sets, seed, run), plain).config


def session_for(config: "Config", plugins: list["Plugin"]) -> "Session":
    """A session that loads the target only where one of ``plugins`` asks for it."""
    from bedside.config.plugins import asks_for

    needed = any(asks_for(plugin, name) for plugin in plugins for name in ("target", "policy"))
    return options._session(config, target=needed)
