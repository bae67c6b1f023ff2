"""`bedside init`: asks in a terminal, takes options in a script."""

from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

import bedside
from bedside.cli.options import ERR, OUT, Columns, pairs
from bedside.core.errors import ConfigError
from bedside.run import environment


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write. The folder is made if it does not exist.")] = Path(),
    model: Annotated[
        str | None, typer.Option(help="What is aligned: a hub id, a folder, a GGUF file, smollm2 or embedded.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Your prompts: one JSONL, CSV or Parquet file.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="Who reads the test: the address of an endpoint, or a larger model.")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The model's name at the endpoint; by default the only one there.")
    ] = None,
    judge_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="NAME of the environment variable that holds the endpoint's key.")
    ] = None,
    column: Columns = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(help="WORD=LEVEL: what a word for a harm level means, as in severe=3. May be repeated."),
    ] = None,
) -> None:
    """Write a bedside.yaml: for your model, prompts and judge with --data, else an example with every key.

    With --data it reads the columns, and asks in a terminal what the options leave open. It says how many prompts the
    limits need.
    """
    request = None
    if data is not None:
        request = bedside.InitRequest(data, model, judge, judge_model, judge_key_env, pairs(column), pairs(label_map))
    elif any((model, judge, judge_model, judge_key_env, column, label_map)):
        raise ConfigError("these options describe a config for your own prompts: name their file, --data FILE")
    for file in bedside.init(folder, request, _ask if environment.somebody_answers() else None):
        OUT.print(f"wrote {file}")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    if request is None:
        OUT.print(f"next: {where}bedside check, then bedside align; your own prompts: bedside init OTHER --data FILE")
        return
    _print_sizing(folder)
    OUT.print(f"next: {where}bedside check")


def _ask(question: "bedside.InitQuestion") -> str:
    return environment.ask_line(ERR, question.text, question.default, question.complaint)


def _print_sizing(folder: Path) -> None:
    """Reads the data as a run in ``folder`` would."""
    from bedside.alignment import starting

    with chdir(folder):
        for line in starting.sizing(bedside.load("bedside.yaml")):
            OUT.print(line)
