"""One stage each, on files: train, generate, judge, evaluate, monitor."""

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.options import (
    OUT,
    Columns,
    Few,
    File,
    Json,
    Seed,
    Sets,
    To,
    _experiment,
    _loaded,
    _print_json,
    _session,
    _writes,
    app,
)


@app.command()
def train(
    objective: Annotated[str, typer.Argument(help="sft, dpo or kto; judge: labelled answers.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="TRL-shaped rows: JSONL, CSV or Parquet.")],
    out: To,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
    label: Annotated[list[str] | None, typer.Option(help="judge: a column of labels, one a rater.")] = None,
    value: Annotated[list[str] | None, typer.Option(help="judge: SEEN=MEANS, as yes=accept.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="judge: OURS=THEIRS, as prompt=goal.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak, of LoRA; the config's if unset.")] = None,
) -> None:
    """One LoRA training on TRL-shaped data, or of a judge on labelled answers; writes a PEFT folder.

    Without a config it trains the embedded model; --set target=NAME names another.
    """
    from bedside.alignment import single_stage
    from bedside.cli import judges, terminal
    from bedside.core.errors import ConfigError

    default = "judge" if objective == "judge" else "train"
    settled = judges.settled(config, sets, seed=seed, run=None, default=default)
    if objective == "judge":
        judges.train_judge(settled, data, out, (label, value, column), learning_rate)
        return
    if label or value or column:
        raise ConfigError(
            f"--label, --value and --column describe labelled answers, for `train judge`; not {objective}"
        )
    session, said = _session(settled), _writes(out)
    checkpoint = single_stage.train(session, objective, data, out, learning_rate)
    terminal.taught(OUT, settled, session.taught(checkpoint))
    OUT.print(f"{said}: {objective} on {checkpoint.learned_from}, adapter {checkpoint.adapter}")


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
    from bedside.alignment import single_stage

    session, said = _session(_experiment(config, sets, n, seed)), _writes(out)
    rows = single_stage.generate(session, part, adapter, out)
    OUT.print(f"{said}: {rows} responses")


@app.command()
def judge(
    responses: Annotated[Path, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")],
    out: To,
    judge: Annotated[str | None, typer.Option("--judge", help="A key of judges; select.judge if unset.")] = None,
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    seed: Seed = None,
) -> None:
    """Judge responses; writes verdicts as JSON Lines."""
    from bedside.alignment import single_stage
    from bedside.cli.judges import pairs
    from bedside.data.responses import Answers

    session, said = _session(_loaded(config, sets, seed=seed).config), _writes(out)
    read = single_stage.judge(session, Answers(str(responses), pairs(column)), judge, out)
    why = f", oftenest: {read.why}" if read.why else ""
    OUT.print(f"{said}: {read.verdicts} verdicts, {read.unreadable} unreadable{why}")


@app.command()
def evaluate(
    responses: Annotated[Path, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")],
    verdicts: Annotated[Path, typer.Argument(help="Verdicts that `bedside judge` wrote.")],
    config: File = None,
    sets: Sets = None,
    labels: Annotated[
        str | None, typer.Option(help="A judge of kind labels: corrects the rates by its labels.")
    ] = None,
    column: Columns = None,
    json_: Json = False,
) -> None:
    """Measures of judged responses, with the gates of select.require; exits 3 unless they pass."""
    from bedside.alignment import offline
    from bedside.cli import terminal
    from bedside.cli.judges import pairs
    from bedside.core.results import passed
    from bedside.data.responses import Answers
    from bedside.judge_audit import correct

    chosen = _loaded(config, sets).config
    answers = Answers(str(responses), pairs(column))
    told = offline.evaluate(chosen, answers, verdicts)
    corrected = correct.corrected(chosen, answers, verdicts, labels) if labels else ()
    if json_:
        _print_json(told.as_json() | ({"corrected": correct.as_json(corrected)} if labels else {}))
    else:
        terminal.evaluation(OUT, told)
        terminal.corrections(OUT, corrected)
    if not passed(told.gates):
        raise typer.Exit(3)


@app.command()
def monitor(
    responses: Annotated[Path, typer.Argument(help="Answers in use, the oldest first: prompt, response, harm.")],
    verdicts: Annotated[Path, typer.Argument(help="Verdicts on them that `bedside judge` wrote.")],
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    json_: Json = False,
) -> None:
    """Does an assistant in use still keep its limits? Exits 3 on an alarm, or where a limit has no answer yet.

    Ask as often as you like, with the file as it has grown: the chance of a false alarm is for all times together.
    """
    from bedside.cli import terminal
    from bedside.cli.judges import pairs
    from bedside.data.responses import Answers
    from bedside.deployment.monitor import watch

    told = watch(_loaded(config, sets).config, Answers(str(responses), pairs(column)), verdicts)
    if json_:
        _print_json(told.as_json())
    else:
        terminal.monitored(OUT, told)
    if not told.quiet:
        raise typer.Exit(3)
