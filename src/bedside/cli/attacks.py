"""`bedside attack`: the command, and what it prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column

import bedside
from bedside.cli.options import (
    File,
    Json,
    Name,
    Sets,
    find_run,
    load_config,
    overrides,
    require,
    show,
    wrote,
)
from bedside.cli.terminal import MARKS, print_lines, table, tight_counted
from bedside.core.attack_results import COMPARED, AttackReport
from bedside.core.errors import ConfigError
from bedside.core.gates import GateState, passed
from bedside.core.measures import Measure, find_measure


def attack(
    what: Annotated[
        str | None, typer.Argument(help="A finished run: its folder or name. With -o: a file of prompts.")
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option("--attacks", help="Names, as in role-play,homoglyphs,role-play+homoglyphs; all by default."),
    ] = None,
    part: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="A file of prompts instead of a part, also one of garak or PyRIT.")
    ] = None,
    harm: Annotated[
        int | None, typer.Option(min=0, max=3, help="Harm level of all prompts of a file without levels.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most this many prompts, some of every harm level.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Only write the transformed prompts there; no model is needed.")
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Also measure a light guard: a classifier of the form, and a reminder.")
    ] = False,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The seed of the attacks' draws; by default the run's seed.")
    ] = None,
    json_: Json = False,
) -> None:
    """Ask a run's assistant the same requests in other forms, before and after alignment. The same command resumes.

    Exits 3 unless the selected checkpoint keeps the limits on refusals and unsafe answers under every attack.
    """
    names = {"attacks": tuple(name.strip() for name in attacks.split(","))} if attacks else {}
    request = bedside.AttackRequest(**names, part=part, prompts=prompts, harm=harm, limit=limit, seed=seed, guard=guard)
    if out is not None:
        if what is None or run is not None or config is not None or prompts is not None or sets:
            raise ConfigError("with -o, name the file of prompts alone: bedside attack prompts.jsonl -o attacked.jsonl")
        sentence = wrote(out)
        counts = bedside.transform_prompts(what, out, request)
        show(json_, lambda: counts, print_transformed, counts, sentence)
        return
    if what is not None and (run is not None or config is not None):
        raise ConfigError("name the run once: bedside attack RUN, or --run RUN, or -c FILE")
    own = what or (find_run(None, None, run) if config is None and not sets else None)
    report = bedside.attack(own or load_config(config, overrides(sets, run=run)).config, request)
    show(json_, report.as_json, print_attacks, report)
    require(passed(report.gates))


def print_attacks(console: Console, report: AttackReport) -> None:
    """The changes by attack and policy, the worst attack first; the limits under attack; notes."""
    rows = [
        (f"{result.attack}\n  {policy.policy}" if first else f"  {policy.policy}", *_changes(policy.change))
        for result in report.attacks
        for first, policy in ((number == 0, policy) for number, policy in enumerate(result.policies))
    ]
    plain = [(f"plain\n  {name}", *_shown_of(measures, COMPARED)) for name, measures in report.plain.items()]
    with_guard = {"plain": report.guard} | {result.attack: result.guard for result in report.attacks}
    guarded = [
        (f"{name}, flags\n{tight_counted(guard.flagged)}", *_changes(guard.gain))
        for name, guard in with_guard.items()
        if guard is not None
    ]
    title = f"Under attack, {report.prompts} prompts, judge {report.judge}: changes from plain, 95 % intervals"
    console.print(table(title, _headings("attack, policy"), [*plain, *rows], box=None, padding=(0, 1, 0, 0)))
    if guarded:
        title = "With the light guard, which has not seen the attack: changes to the last policy without it"
        console.print(table(title, _headings("prompts"), guarded, box=None, padding=(0, 1, 0, 0)))
    console.print(report.caption())
    print_lines(console, *_limits_under_attack(report))
    for result in report.attacks:
        print_lines(console, *(f"{result.attack}: {n} prompts left out, {why}" for why, n in result.left_out.items()))
    print_lines(console, *report.notes)


def _headings(first: str) -> list[Column]:
    """New columns for each table, because a table fills its columns."""
    return [Column(name, overflow="fold") for name in (first, *COMPARED)]


def _limits_under_attack(report: AttackReport) -> list[str]:
    """One line per limit and state, with its attacks. ``--json`` has the bound that decides for each attack."""
    attacks: dict[tuple[GateState, str], list[str]] = {}
    for result in report.attacks:
        for gate in result.gates:
            attacks.setdefault((gate.state, gate.limited), []).append(result.attack)
    order = sorted(attacks, key=lambda at: (at[1], list(GateState).index(at[0])))
    return [f"{MARKS[state]} {limited} {state.value}: {', '.join(attacks[state, limited])}" for state, limited in order]


def _changes(measures: Sequence[Measure]) -> list[str]:
    """Three lines: ``-0.12``, its interval, and n. A dash if nothing was measured."""
    return [
        "–" if m.value is None else f"{m.value + 1e-12:+.2f}\n[{m.low:+.2f}, {m.high:+.2f}]\nn {m.counted}"
        for m in measures
    ]


def _shown_of(measures: Sequence[Measure], names: Sequence[str]) -> list[str]:
    known = (find_measure(measures, name) for name in names)
    return ["–" if measure is None or measure.value is None else tight_counted(measure) for measure in known]


def print_transformed(console: Console, counts: Mapping[str, int], written: str) -> None:
    """The file, and how many rows each attack gave."""
    print_lines(console, f"{written}: {sum(counts.values())} prompts", *(f"{name}: {n}" for name, n in counts.items()))
