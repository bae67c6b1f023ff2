"""The verbs of one stage each, on files: train, generate, judge, evaluate, monitor."""

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import (
    OUT,
    Columns,
    File,
    Json,
    Limit,
    Out,
    Seed,
    Sets,
    app,
    load_config_or_default,
    load_data_config,
    overrides,
    pairs,
    print_json,
    wrote,
)

Answers = Annotated[Path, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")]
Verdicts = Annotated[Path, typer.Argument(help="The verdicts that `bedside judge` wrote.")]


@app.command()
def train(
    objective: Annotated[str, typer.Argument(help="sft, dpo or kto; or judge, to train on labelled answers.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="TRL-shaped rows: JSONL, CSV or Parquet.")],
    out: Out,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
    label: Annotated[list[str] | None, typer.Option(help="judge: a column of labels, one per rater.")] = None,
    label_map: Annotated[list[str] | None, typer.Option(help="judge: LABEL=MEANING, as in yes=accept.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="judge: OURS=THEIRS, as in prompt=goal.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate; the config's by default.")
    ] = None,
) -> None:
    """Train a LoRA adapter on TRL-shaped data, or a judge on labelled answers. Writes a PEFT folder.

    Without a config it trains the embedded model; --set target=NAME names another.
    """
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.errors import ConfigError

    settled = load_config_or_default(config, overrides(sets, seed=seed), "judge" if objective == "judge" else "train")
    if objective == "judge":
        table = {"path": str(data), "columns": pairs(column), "label_map": pairs(label_map)}
        table["label"] = label[0] if label and len(label) == 1 else label or "label"
        terminal.print_judge_training(OUT, api.train_judge(table, out, learning_rate=learning_rate, config=settled))
        return
    if label or label_map or column:
        raise ConfigError(
            f"--label, --label-map and --column describe labelled answers, for `train judge`; not {objective}"
        )
    keys = {"kind": objective} | ({} if learning_rate is None else {"learning_rate": learning_rate})
    sentence = wrote(out)
    result = api.train(keys, data, out, config=settled)
    terminal.print_training(OUT, settled, result)
    OUT.print(f"{sentence}: {objective} on {result.checkpoint.learned_from}, adapter {result.checkpoint.adapter}")


@app.command()
def generate(
    out: Out,
    part: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    adapter: Annotated[
        Path | None, typer.Option(help="A PEFT folder that answers; the target without an adapter by default.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    limit: Limit = None,
    seed: Seed = None,
) -> None:
    """Answer the prompts of one part. Writes the responses as JSON Lines."""
    from bedside import api

    settled, sentence = load_data_config(config, overrides(sets, limit=limit, seed=seed)), wrote(out)
    result = api.generate(settled, part, adapter=adapter, out=out)
    OUT.print(f"{sentence}: {len(result.responses)} responses")


@app.command()
def judge(
    responses: Answers,
    out: Out,
    judge: Annotated[
        str | None, typer.Option("--judge", help="A key of judges, or a kind; select.judge by default.")
    ] = None,
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
) -> None:
    """Judge responses. Writes the verdicts as JSON Lines."""
    from bedside import api
    from bedside.data.responses import AnswerFile

    sentence, given = wrote(out), overrides(sets, seed=seed)
    settled = load_config_or_default(config, given, "judge") if config or given else None
    result = api.judge(AnswerFile(str(responses), pairs(column)), judge, config=settled, out=out)
    reasons = result.unreadable
    most = f", most often: {next(iter(reasons))}" if reasons else ""
    n = sum(reasons.values())
    OUT.print(f"{sentence}: {len(result.rows) - n} verdicts, {n} unreadable{most}")


@app.command()
def evaluate(
    responses: Answers,
    verdicts: Verdicts,
    config: File = None,
    sets: Sets = None,
    labels: Annotated[
        str | None, typer.Option(help="A judge of kind labels. Its labels correct the rates for the judge's errors.")
    ] = None,
    column: Columns = None,
    json_: Json = False,
) -> None:
    """Compute the measures of judged responses, and the gates of select.require. Exits 3 unless they pass."""
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.gates import passed
    from bedside.core.serialize import to_json
    from bedside.data.responses import AnswerFile

    settled = load_config_or_default(config, overrides(sets), "evaluate")
    result = api.evaluate(AnswerFile(str(responses), pairs(column)), verdicts, labels=labels, config=settled)
    if json_:
        print_json(result.as_json() | ({"corrected": to_json(result.corrections)} if labels else {}))
    else:
        terminal.print_evaluation(OUT, result)
    if not passed(result.gates):
        raise typer.Exit(3)


@app.command()
def monitor(
    responses: Annotated[Path, typer.Argument(help="Answers in use, the oldest first: prompt, response, harm.")],
    verdicts: Verdicts,
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    json_: Json = False,
) -> None:
    """Watch whether an assistant in use keeps its limits. Exits 3 on an alarm, or if a limit has no answer yet.

    Run it as often as the file grows: the chance of a false alarm holds for all times together.
    """
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.serialize import to_json
    from bedside.data.responses import AnswerFile

    settled = load_config_or_default(config, overrides(sets), "monitor")
    result = api.monitor(AnswerFile(str(responses), pairs(column)), verdicts, config=settled)
    if json_:
        print_json(to_json(result))
    else:
        terminal.print_monitoring(OUT, result)
    if not result.quiet:
        raise typer.Exit(3)
