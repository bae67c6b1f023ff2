"""`bedside monitor`: an assistant in use. Without a verb of its own it reads one file of answers and one of verdicts.

baseline   what the assistant was released as
watch      new rows of its logs against that; exits 3 on an alarm
replay     the golden set again: has the judge changed, or the assistant?
harvest    prompts of an alarm, to be labelled
file       one file of answers and its verdicts, read anew each time
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column
from typer.core import TyperGroup

import bedside
from bedside.cli.options import (
    OUT,
    Columns,
    File,
    Json,
    Name,
    Sets,
    find_run,
    load_config,
    load_config_or_default,
    overrides,
    pairs,
    require,
    show,
)
from bedside.cli.terminal import interval, print_lines, table
from bedside.core.errors import ConfigError
from bedside.core.monitor_results import INPUT, QUALITY, Alarm, Drift, WatchedRate

FILE = "file"
_SHOWN_CHARACTERS = 160
_SHOWN_INPUTS = 5


class MonitorVerbs(TyperGroup):
    """`bedside monitor ANSWERS VERDICTS` is `bedside monitor file`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else [FILE, *args])


monitor_app = typer.Typer(
    cls=MonitorVerbs,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Watch an assistant in use: baseline, watch, replay, harvest. Or read one file of answers and its verdicts.",
)
Folder = Annotated[
    str | None,
    typer.Option("--baseline", help="The folder that `monitor baseline` wrote, or its run; the config's by default."),
]
Day = Annotated[datetime | None, typer.Option("--today", formats=["%Y-%m-%d"], help="A date in place of the clock's.")]
Watch = Annotated[
    Path | None, typer.Option("--watch", help="The folder of the watch; `watch` in that of the baseline by default.")
]


@monitor_app.command()
def baseline(
    run: Annotated[str | None, typer.Argument(help="A finished run: its folder or name.")] = None,
    golden: Annotated[
        Path | None, typer.Option(help="Judged answers in one file, in place of the run's answers to test.")
    ] = None,
    verdicts: Annotated[Path | None, typer.Option(help="The verdicts of --golden, from a file of their own.")] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(help="Prompts of a normal month, in place of the run's: inputs are compared with them."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="A judge of kind labels: labels of golden answers, for the judge's errors.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write; `monitor` in the run's by default.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    today: Day = None,
    json_: Json = False,
) -> None:
    """Keep what an assistant was released as: limits, the judge's errors, inputs, a golden set."""
    if run is not None and (config is not None or sets):
        raise ConfigError("name the run once: bedside monitor baseline RUN, or -c FILE")
    request = bedside.BaselineRequest(golden, verdicts, inputs, labels, today.date() if today else None)
    result = bedside.monitor_baseline(run or load_config(config, sets).config, request, out)
    show(json_, result.as_json, print_baseline, result)


@monitor_app.command()
def watch(
    logs: Annotated[
        list[Path] | None, typer.Argument(help="Judged answers as `bedside judge` writes them, the oldest first.")
    ] = None,
    baseline: Folder = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder of the watch; `watch` in the baseline's by default.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    today: Day = None,
    json_: Json = False,
) -> None:
    """Read what is new in logs. Exits 3 on an alarm, or if a limit has no row yet. Writes status.json, .html, .prom.

    Run it as often as the logs grow: the chance of a false alarm holds for all times together.
    """
    folder = _folder(baseline, config, sets)
    status = bedside.monitor_watch(logs or [], folder, out)
    show(json_, status.as_json, print_status, status)
    if not json_:
        from bedside.api.monitors import golden_warnings

        print_lines(OUT, *golden_warnings(folder, today.date() if today else None))
    require(status.quiet)


@monitor_app.command()
def replay(
    baseline: Folder = None,
    answers: Annotated[
        Path | None, typer.Option(help="Today's answers to the golden set; by default monitor.assistant is asked.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    today: Day = None,
    json_: Json = False,
) -> None:
    """Ask the golden set again: has the judge changed, or the assistant? Exits 3 if one has."""
    named = config is not None or sets or run is not None
    settled = load_config(config, overrides(sets, run=run)).config if named else None
    folder = _folder(baseline, config, overrides(sets, run=run))
    on = today.date() if today else None
    report = bedside.monitor_replay(folder, settled, answers=answers, on=on)
    show(json_, report.as_json, print_replay, report)
    require(not report.changed)


@monitor_app.command()
def harvest(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: .csv or .jsonl.")],
    baseline: Folder = None,
    watch: Watch = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most so many prompts of an alarm, the latest first.")
    ] = None,
    config: File = None,
    sets: Sets = None,
    json_: Json = False,
) -> None:
    """Write the prompts of every alarm, for people to label: data of the next cycle."""
    result = bedside.monitor_harvest(_folder(baseline, config, sets), out, watch=watch, limit=limit)
    show(json_, result.as_json, print_harvest, result)


@monitor_app.command()
def file(
    responses: Annotated[Path, typer.Argument(help="Answers in use, the oldest first: prompt, response, harm.")],
    verdicts: Annotated[Path, typer.Argument(help="The verdicts that `bedside judge` wrote.")],
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    json_: Json = False,
) -> None:
    """Watch one file of answers, read anew each time. Exits 3 on an alarm, or if a limit has no answer yet.

    Run it as often as the file grows: the chance of a false alarm holds for all times together.
    """
    settled = load_config_or_default(config, overrides(sets), "monitor")
    result = bedside.monitor(bedside.AnswerFile(str(responses), pairs(column)), verdicts, config=settled)
    show(json_, result.as_json, print_monitoring, result)
    require(result.quiet)


def _folder(baseline: str | None, config: Path | None, sets: Sequence[str] | None) -> str | Path:
    return baseline if baseline is not None else find_run(config, list(sets or []), None)


def print_baseline(console: Console, result: "bedside.BaselineResult") -> None:
    """What will be watched, and the next step."""
    print_lines(
        console,
        f"wrote {result.folder}: {result.golden} golden answers, inputs of {result.prompts} prompts",
        *(
            f"{r.name}: too high above {r.tolerated:.3f} of verdicts; {r.basis}"
            for r in result.limits
            if r.kind == QUALITY
        ),
        f"kinds of input: {sum(r.kind == INPUT for r in result.limits)}",
        *result.notes,
        f"next: bedside monitor watch LOG --baseline {result.folder}",
    )


def print_status(console: Console, status: "bedside.WatchStatus") -> None:
    """Alarms first, with what to do; then every limit, and the inputs with most evidence."""
    for alarm in status.alarms:
        print_lines(console, *_alarm(alarm))
    print_lines(console, *dict.fromkeys(f"what to do: {alarm.advice}" for alarm in status.alarms))
    limits = [rate for rate in status.rates if rate.kind == QUALITY]
    inputs = sorted((rate for rate in status.rates if rate.kind == INPUT), key=lambda rate: -rate.evidence)
    heading = f"{status.run} in use: {status.judged} judged answers"
    console.print(_rates(heading, limits))
    if inputs:
        console.print(_rates(f"Inputs, those with most evidence of {len(inputs)} kinds", inputs[:_SHOWN_INPUTS]))
    lines = [f"set aside, {one.reason}: {one.rows}; the first, {one.first}" for one in status.set_aside]
    if status.unlabelled:
        lines.append(f"without a harm level, so that no limit but readability counts them: {status.unlabelled}")
    if status.other_judge:
        lines.append(f"verdicts of another judge than {status.judge}: {status.other_judge}")
    chance = f"chance of a false alarm, over the whole life of this watch: at most {status.false_alarm:g}"
    print_lines(console, *lines, f"{chance} for the limits, and as much again for the inputs")


def _alarm(alarm: Alarm) -> list[str]:
    first = alarm.examples[-1] if alarm.examples else None
    lines = [
        f"✗ ALARM: {alarm.name}, at {alarm.at}; too high from about {alarm.since} on: {alarm.among} of {alarm.counted} "
        "rows since then",
    ]
    if first is not None:
        asked, said = (" ".join(text.split())[:_SHOWN_CHARACTERS] for text in (first.prompt, first.answer))
        lines.append(f"  for example {first.place}: {asked} → {said} [{first.stance or 'unreadable'}]")
    return lines


def _rates(title: str, rates: Sequence[WatchedRate]) -> Any:
    headings = (Column("what", overflow="fold"), "so far [95 %]", "n", "too high above", "evidence", "")
    rows = [
        (
            rate.name,
            interval(rate.measure),
            str(rate.measure.n),
            f"{rate.tolerated:.3f}",
            f"{rate.evidence:.3g} of {rate.threshold:.0f}",
            rate.state,
        )
        for rate in rates
    ]
    return table(title, headings, rows, box=None)


def print_replay(console: Console, report: "bedside.ReplayReport") -> None:
    """The verdict, then each part with its figures."""
    parts: list[Drift] = [part for part in (report.judge, report.assistant) if part]
    print_lines(
        console,
        report.verdict,
        *(f"{part.part}: {part.state}; {part.reason}" for part in parts),
        f"{report.prompts} golden answers, {report.age_days} days old; replay {report.number} of this baseline",
        *(f"? {note}" for note in report.notes),
    )


def print_harvest(console: Console, result: "bedside.HarvestResult") -> None:
    """How many prompts of each alarm, and the next step."""
    print_lines(
        console,
        f"wrote {result.file}: {sum(result.alarms.values())} prompts",
        *(f"{name}: {n}" for name, n in result.alarms.items()),
        *(f"left out, {why}: {n}" for why, n in result.left_out.items()),
        f"next: remove what identifies patients; bedside label {result.file} -o proposals.csv --learn-from LABELLED",
    )


def print_monitoring(console: Console, result: "bedside.MonitorResult") -> None:
    """Each limit with the evidence against it, and the limits that are not watched."""
    headings = (Column("limit", overflow="fold"), "rate so far [95 %]", "n", "unread", "evidence", "")
    rows = [
        (
            status.name,
            interval(status.measure),
            str(status.measure.n),
            str(status.unreadable),
            f"{status.evidence:.3g} of {status.threshold:.0f}",
            "ALARM" if status.alarm is not None else "no alarm" if status.measure.n else "no answer yet",
        )
        for status in result.limits
    ]
    console.print(table(f"Answers in use: {result.answers}", headings, rows, box=None))
    for status in result.limits:
        n, unread = status.measure.n, status.unreadable
        if status.alarm is not None:
            onset = f"too high from about answer {status.since} on"
            console.print(f"✗ ALARM: {status.name}, at answer {status.alarm}; {onset}")
        if 0 < n < 2 * unread:
            console.print(f"? {status.name}: {unread} of {n} could not be read: look at the judge first")
        if status.repeated:
            console.print(f"{status.name}: not counted, because an earlier answer of the group was: {status.repeated}")
    print_lines(console, *result.unconfirmed)
    if result.unlabelled:
        console.print(f"answers without a harm level, monitored for readability only: {result.unlabelled}")
    unwatched = "not monitored, because it is not a limit below 1 on a share of failed answers"
    print_lines(
        console,
        *(f"{unwatched}: {limit}" for limit in result.not_monitored),
        f"chance of a false alarm, over the whole life of this log: at most {result.false_alarm:g}",
    )
