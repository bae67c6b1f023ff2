"""The command line. ``bedside VERB --help`` explains each verb; each verb calls the function of that name in the API.

    init doctor check demo align select stopping report config plugins    a whole run, and its config
    card verify approve                                          its audit trail
    export                                                       what it may release, for other tools
    view                                                         its rows in a browser
    train generate judge review evaluate                         one stage each, on files
    monitor                                                      an assistant in use, over months
    attack                                                       the same requests in other forms
    audit                                                        judges
    label chat erase                                             with a person in them
    rewrite comfort                                              dialogues

Exit codes: 0 done, 1 error, 2 usage, 3 a gate did not pass, 130 interrupted (the same command continues). Results
go to stdout, progress and errors to stderr. ``bedside.NAME`` is loaded when it is first used, so ``--help`` is fast and
torch is loaded only by the verbs that need it.
"""

import logging
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

import bedside
from bedside.cli import attacks, demo_screen, exporting, start, terminal, trail
from bedside.cli.monitor import monitor_app
from bedside.cli.options import (
    ERR,
    OUT,
    Columns,
    File,
    Json,
    Limit,
    Name,
    Out,
    Rehearse,
    Seed,
    Sets,
    app,
    find_run,
    load_config,
    load_config_or_default,
    load_data_config,
    numbers,
    overrides,
    pairs,
    require,
    show,
    wrote,
)
from bedside.cli.review import Browser, Host, Port, print_links
from bedside.core.errors import ConfigError, StageError
from bedside.core.extras import needs_extras
from bedside.core.gates import GateState, passed
from bedside.core.serialize import to_json
from bedside.run import environment, launcher

Answers = Annotated[Path, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")]
Verdicts = Annotated[Path, typer.Argument(help="The verdicts that `bedside judge` wrote.")]


app.command()(start.init)
for verb in (trail.card, trail.verify, trail.approve, exporting.export):
    app.command()(verb)
app.command()(attacks.attack)
app.add_typer(monitor_app, name="monitor")


def main() -> None:
    with environment.clean_exit(ERR):
        app(standalone_mode=True)


@app.command()
def check(config: File = None, sets: Sets = None, limit: Limit = None, json_: Json = False, seed: Seed = None) -> None:
    """Find what could go wrong in a run before it starts: data, limits, judges, disk, memory, time."""
    result = bedside.check(load_data_config(config, overrides(sets, limit=limit, seed=seed)))
    show(json_, result.records, terminal.print_checks, result.findings)
    require(result.passed)


@app.command()
def doctor(json_: Json = False) -> None:
    """Show what this machine has for a run: versions, device, memory, models. No paths and no text of patients."""
    result = bedside.doctor()
    show(json_, result.records, terminal.print_checks, result.findings)


@app.command()
def demo(
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
    sets: Sets = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Use the embedded model, which speaks an invented language.")
    ] = False,
) -> None:
    """Run the whole loop, with real training, on SmolLM2-135M and prompts in plain English."""
    from bedside.config.rendering import path

    tiny = tiny or not _has_smollm2()
    if tiny and not json_:
        OUT.print(demo_screen.INVENTED)
    config = path("demo-tiny.yaml" if tiny else "demo.yaml")
    result = _align(bedside.load(config, overrides(sets, seed=seed, run=run)))
    show(json_, result.as_json, partial(demo_screen.print_demo, tiny=tiny), result)


def _has_smollm2() -> bool:
    """Whether the package of SmolLM2 is installed. If not, one line on stderr says how to install it."""
    from bedside.models import gguf_files

    with needs_extras():  # without torch no demo runs, and the error names torch alone
        import_module("bedside.training.adapters")
    missing = gguf_files.missing()
    if missing:
        ERR.print(f"{missing}. Until then the demo runs as with --tiny.")
    return not missing


@app.command()
def align(
    config: File = None,
    sets: Sets = None,
    limit: Limit = None,
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
    rehearse: Rehearse = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only run the checks of `bedside check`.")] = False,
    targets: Annotated[
        list[str] | None,
        typer.Option("--targets", help="A,B: a run for each of these models, and a comparison. May be repeated."),
    ] = None,
) -> None:
    """Run the cycles: answer, judge, build preferences, train, select. The same command resumes.

    With --targets, the judge is audited on each target's answers first. Exits 1 if a target failed; the others go on.
    """
    if dry_run and not targets:
        check(config, sets, limit, json_, seed)
        raise typer.Exit
    rehearse = rehearse or limit is not None
    settled = load_data_config(config, overrides(sets, limit=limit, seed=seed, run=run, rehearse=rehearse))
    if targets:
        models = [model.strip() for text in targets for model in text.split(",")]
        raise typer.Exit((_check_targets if dry_run else _align_targets)(settled, models, json_))
    result = _align(settled)
    show(json_, result.as_json, terminal.print_run, result)
    require(result.released is not None or result.summary.rehearsal)


def _check_targets(config: "bedside.Config", models: list[str], json_: bool) -> int:
    """What `bedside check` says of each run of the list. Returns the exit code."""
    from bedside.alignment.targets import configs

    results = {model: bedside.check(of_target) for model, of_target in configs(config, models).items()}
    findings = [replace(f, name=f"{model}: {f.name}") for model, result in results.items() for f in result.findings]
    together = bedside.CheckResult(tuple(findings))
    show(json_, together.records, terminal.print_checks, findings)
    return 0 if together.passed else 3


def _align_targets(config: "bedside.Config", models: list[str], json_: bool) -> int:
    comparison = bedside.align_targets(config, models)
    show(json_, comparison.as_json, terminal.print_targets, comparison)
    return comparison.exit_code


def _align(config: "bedside.Config") -> "bedside.Run":
    if launcher.STARTED.rank > 0:
        logging.disable()
        bedside.align(config)
        raise typer.Exit(0)  # the first process prints the result
    return bedside.align(config)


@app.command()
def select(config: File = None, sets: Sets = None, run: Name = None, json_: Json = False) -> None:
    """Show which candidate a run selected, which may be released, and at which alpha the winner changes."""
    selection = bedside.select(find_run(config, sets, run))
    show(json_, selection.as_json, terminal.print_selection, selection.summary)


@app.command()
def stopping(
    what: Annotated[str | None, typer.Argument(metavar="RUN", help="A finished run: its folder or name.")] = None,
    plateau: Annotated[int, typer.Option(min=1, help="Cycles without a gain.")] = 3,
    gain: Annotated[float, typer.Option(min=0, help="What counts as a gain in Overall.")] = 0.01,
    most: Annotated[int, typer.Option(min=1, help="N of best of N.")] = 5,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    json_: Json = False,
) -> None:
    """Show when each stopping rule would have ended a finished run, and what it would have chosen, on valid."""
    report = bedside.stopping(what or find_run(config, sets, run), plateau=plateau, gain=gain, most=most)
    show(json_, report.as_json, terminal.print_stopping, report)


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
    if runs and len(runs) > 1:
        OUT.print(f"wrote {bedside.write_report(runs, out)}: {len(runs)} runs side by side")
        return
    result = bedside.read_run(runs[0] if runs else find_run(config, sets, run))
    show(json_, result.as_json, lambda console: console.print(f"{result.verdict}\nwrote {result.report(out)}"))


@app.command()
def view(
    run: Annotated[str, typer.Argument(help="A finished run: its folder, or its name in runs/.")],
    host: Host = "127.0.0.1",
    port: Port = 8765,
    browser: Browser = True,
) -> None:
    """Read the rows of a run in a browser: prompt, answers before and after, stance, judge, reason."""
    bedside.view(run).serve(host, port, browser=browser, started=lambda links: print_links(OUT, links))


@app.command()
def config(config: File = None, sets: Sets = None, json_: Json = False) -> None:
    """Print the resolved config, with the origin of each value."""
    from bedside.config import loader

    loaded = load_config(config, sets)
    show(
        json_,
        lambda: {"config": loader.tables(loaded.config), "origins": dict(loaded.origins)},
        lambda console: console.print(loader.dump(loaded), end=""),
    )


@app.command()
def plugins(json_: Json = False) -> None:
    """List the registered plug-ins, by kind."""
    lines = [f"{kind:10} {', '.join(names)}" for kind, names in bedside.list_plugins().items()]
    show(json_, bedside.list_plugins, lambda console: console.print("\n".join(lines)))


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
    kind: Annotated[
        Literal["rubric", "classifier"],
        typer.Option(help="judge: the target with LoRA, or a classifier of words, without a model."),
    ] = "rubric",
    reads: Annotated[
        Literal["answer", "exchange"], typer.Option(help="classifier: reads the answer, or question and answer.")
    ] = "answer",
) -> None:
    """Train a LoRA adapter on TRL-shaped data, or a judge on labelled answers. Writes a PEFT folder.

    Without a config it trains the embedded model; --set target=NAME names another. `train judge --kind classifier`
    needs no model.
    """
    settled = load_config_or_default(config, overrides(sets, seed=seed), "judge" if objective == "judge" else "train")
    words = objective == "judge" and kind == "classifier"
    if (kind == "classifier" or reads != "answer") and not words:
        raise ConfigError("--kind classifier and --reads are for `train judge --kind classifier`")
    if words and learning_rate is not None:
        raise ConfigError("--learning-rate is for a judge with LoRA; a classifier has none")
    if objective == "judge":
        table = {"path": str(data), "columns": pairs(column), "label_map": pairs(label_map)}
        table["label"] = label[0] if label and len(label) == 1 else label or "label"
        if words:
            trained = bedside.train_classifier(table, out, reads=reads, config=settled)
            terminal.print_classifier_training(OUT, trained)
            return
        terminal.print_judge_training(OUT, bedside.train_judge(table, out, learning_rate=learning_rate, config=settled))
        return
    if label or label_map or column:
        raise ConfigError(
            f"--label, --label-map and --column describe labelled answers, for `train judge`; not {objective}"
        )
    keys = {"kind": objective} | ({} if learning_rate is None else {"learning_rate": learning_rate})
    sentence = wrote(out)
    result = bedside.train(keys, data, out, config=settled)
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
    settled, sentence = load_data_config(config, overrides(sets, limit=limit, seed=seed)), wrote(out)
    result = bedside.generate(settled, part, adapter=adapter, out=out)
    OUT.print(f"{sentence}: {len(result.responses)} responses")
    if result.caption():
        OUT.print(result.caption())


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
    sentence, given = wrote(out), overrides(sets, seed=seed)
    settled = load_config_or_default(config, given, "judge") if config or given else None
    result = bedside.judge(bedside.AnswerFile(str(responses), pairs(column)), judge, config=settled, out=out)
    reasons = result.unreadable
    most = f", most often: {next(iter(reasons))}" if reasons else ""
    n = sum(reasons.values())
    repeated = f"; {result.repeated} rows repeat an earlier one and share its verdict" if result.repeated else ""
    OUT.print(f"{sentence}: {result.count - n} verdicts, {n} unreadable{most}{repeated}")


@app.command()
def evaluate(
    responses: Answers,
    verdicts: Verdicts,
    config: File = None,
    sets: Sets = None,
    labels: Annotated[
        str | None, typer.Option(help="A judge of kind labels. Its labels correct the rates for the judge's errors.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="Answers of the original target to the same prompts: for limits relative to it.")
    ] = None,
    column: Columns = None,
    json_: Json = False,
) -> None:
    """Compute the measures of judged responses, and the gates of select.require.

    Exits 3 if a checked gate does not pass, or if no gate could be checked. Each gate gives its reason.
    """
    settled = load_config_or_default(config, overrides(sets), "evaluate")
    names = pairs(column)
    beside = None if target is None else bedside.AnswerFile(str(target), names)
    answers = bedside.AnswerFile(str(responses), names)
    result = bedside.evaluate(answers, verdicts, labels=labels, target=beside, config=settled)
    corrected = {"corrected": to_json(result.corrections)} if labels else {}
    show(json_, lambda: result.as_json() | corrected, terminal.print_evaluation, result)
    checked = any(gate.state is not GateState.NOT_CHECKED for gate in result.gates)
    require(passed(result.gates) and (checked or not result.gates))


@app.command()
def audit(
    answers: Annotated[
        Path | None, typer.Argument(help="What `bedside generate` wrote, or columns prompt and response.")
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="A key of judges, or a kind. May be repeated.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The reference judge, a key of judges; select.judge by default.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A column of experts' labels, one per rater. May be repeated.")
    ] = None,
    label_map: Annotated[
        list[str] | None, typer.Option(help="LABEL=MEANING, as in yes=accept no=not_accept. May be repeated.")
    ] = None,
    column: Columns = None,
    scale: Annotated[
        Literal["stance", "ordinal"], typer.Option(help="What labels are: stances, or ratings on an ordered scale.")
    ] = "stance",
    levels: Annotated[
        str | None, typer.Option(help="The ordered scale, least first: 0,1,2,3,4. The labels' integers by default.")
    ] = None,
    score: Annotated[
        list[str] | None, typer.Option(help="COLUMN=MOST: a judge's scores, 0 to MOST, against people's ratings.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many answers to compare, drawn by level and style.")
    ] = 500,
    adversarial: Annotated[
        bool, typer.Option("--adversarial", help="Also add texts to the answers that try to change the label.")
    ] = False,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    seed: Seed = None,
    json_: Json = False,
) -> None:
    """Measure whether a judge can be trusted: its agreement with experts or a reference judge. Exits 3 if it cannot."""
    from bedside.judge_audit.correct import AUDIT

    request = bedside.AuditRequest(
        judges=tuple(judge or ()),
        reference=reference,
        answers=answers,
        labels=tuple(label or ()),
        label_map=pairs(label_map),
        columns=pairs(column),
        limit=limit,
        adversarial=adversarial,
        scale=scale,
        levels=tuple(level.strip() for level in levels.split(",")) if levels else (),
        scores=numbers(score),
    )
    settled = load_config_or_default(config, overrides(sets, seed=seed, run=run), "audit")
    sentence = wrote(Path(settled.runs) / settled.run / AUDIT)
    report = bedside.audit(request, config=settled)
    show(json_, report.as_json, terminal.print_audit, report, sentence)
    require(report.trusted)


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
    column: Columns = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of every random draw.")] = 0,
) -> None:
    """Propose a harm level for prompts that have none, and let people confirm it."""
    if confirm is not None:
        n = bedside.confirm_labels(prompts, confirm, lambda row, left: environment.ask_harm_level(OUT, row, left))
        OUT.print(f"wrote {prompts}: {n} confirmed")
    elif out is not None:
        proposed = bedside.label(prompts, out, learn_from=learn_from, columns=pairs(column), seed=seed)
        terminal.print_proposals(OUT, proposed, out)
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
    settled = load_config(config, overrides(sets, seed=seed, run=run)).config
    if run is not None and adapter is None:
        bedside.read_run(Path(settled.runs) / settled.run)
    talk = bedside.chat(settled, adapter=adapter, system=system)
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
    review: Annotated[
        list[Path] | None, typer.Option(help="A review that was moved since it was packed. May be repeated.")
    ] = None,
    adapters: Annotated[bool, typer.Option("--adapters", help="Also remove adapters that learned from it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be erased, and change nothing.")] = False,
) -> None:
    """Erase a person's words from runs, caches and reviews. The events of a run record that something was erased."""
    result = bedside.erase(text, runs, reviews=review or (), adapters=adapters, dry_run=dry_run)
    terminal.print_erasure(OUT, result)


@app.command()
def rewrite(
    config: File = None,
    sets: Sets = None,
    limit: Limit = None,
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
) -> None:
    """Rewrite dialogues: distressed questions, soothing answers. A row that loses a fact is dropped."""
    result = bedside.rewrite(_load(config, overrides(sets, limit=limit, seed=seed, run=run)))
    dropped = {counts.step: dict(counts.dropped) for counts in result.filter_counts}
    show(json_, lambda: {"rows": result.counts, "dropped": dropped}, terminal.print_rewriting, result)
    if result.why_empty:
        raise StageError(f"no dialogue was kept ({result.why_empty}); name another comfort.rewrite.model")


@app.command()
def comfort(
    config: File = None,
    sets: Sets = None,
    limit: Limit = None,
    json_: Json = False,
    seed: Seed = None,
    run: Name = None,
    rehearse: Rehearse = False,
) -> None:
    """Rewrite, train SFT, KTO and DPO on the same rows; compare comfort with knowledge. The same command resumes."""
    rehearse = rehearse or limit is not None
    result = bedside.run_comfort(_load(config, overrides(sets, limit=limit, seed=seed, run=run, rehearse=rehearse)))
    show(json_, result.as_json, terminal.print_comfort, result)
    require(bool(result.summary.passed) or result.summary.rehearsal)


def _load(file: Path | None, sets: list[str]) -> "bedside.Config":
    """The config in ``file``, else in bedside.yaml here, else the packaged comfort.yaml."""
    from bedside.config.rendering import path

    packaged = file is None and not Path("bedside.yaml").exists()
    return load_data_config(path("comfort.yaml") if packaged else file, sets)
