"""Writes src/bedside/consult/CARD.md from the data set itself: counts, and how far its readers agree.

python recipes/consult_card.py
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from bedside.consult.prompts import COMFORT, DIALOGUES, FOLDER, LABELS, PROMPTS
from bedside.data.io import write_text
from bedside.stats.agreement import Agreement, Ratings, kappa, quadratic_kappa

PARTS = ("train", "valid", "test", "final")
PACKAGED = ("trainer", "selector")
LEVELS = ("0", "1", "2", "3")
LINES = ("empathetic", "comforting", "reassuring")
FLAGS = ("unkind", "false")
TEMPLATE = Path(__file__).with_suffix(".md")


def main() -> None:
    rows, labels = _read(PROMPTS), _read(LABELS)
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for label in labels:
        by_id[label["id"]].append(label)
    group_of = {row["id"]: row["group"] for row in rows}
    pairs = [
        (_of("writer", given), _of("reader", given), group_of.get(key, key))
        for key, given in sorted(by_id.items())
        if len(given) > 1
    ]
    unfit = sum(not reader["publishable"] for _, reader, _ in pairs)
    severe = [row for row in rows if row["harm"] == 3]
    readers = json.loads((FOLDER / "judges" / "readers.json").read_text(encoding="utf-8"))
    text = TEMPLATE.read_text(encoding="utf-8").format(
        left_out=f"{len(by_id) - len(rows)} of {len(by_id)}",
        counts=_counts(rows),
        styles=_shares(row["style"] for row in severe),
        voices=_shares(row["voice"] for row in rows),
        n=len(pairs),
        unfit=unfit,
        kappa=_shown(kappa(_ratings(pairs))),
        quadratic=_shown(quadratic_kappa(_ratings(pairs))),
        two=_shown(kappa(_ratings(pairs, harmful=True))),
        answers=len(_read(FOLDER / "answers.jsonl")),
        two_readers=sum(row["readers"] == 2 for row in _read(FOLDER / "answers.jsonl")),
        judges=_judges(_audits()),
        beside=_beside(_audits()),
        parts=_parts(_audits()),
        attacks=_attacks(_audits()),
        outside=_outside(_audits()),
        readers=_interval(readers),
        read_twice=readers["n"],
        taught=sum(audit.get("taught_on", 0) for audit in _audits().values()),
        dialogues=len(_read(DIALOGUES)),
        rated=len(_read(COMFORT)),
        comfort="; ".join(f"{line} {_shown(_agree_on(line))}" for line in LINES),
        comfort_made=_comfort_made(),
    )
    write_text(FOLDER / "CARD.md", text)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _of(role: str, given: list[dict[str, Any]]) -> dict[str, Any]:
    """The first label by somebody of that role."""
    return next(label for label in given if label["rater"].startswith(role))


def _ratings(pairs: list[tuple[dict[str, Any], dict[str, Any], str]], *, harmful: bool = False) -> Ratings:
    def label(row: dict[str, Any]) -> str:
        return str(min(row["harm"], 1) if harmful else row["harm"])

    first, second = (tuple(label(pair[side]) for pair in pairs) for side in (0, 1))
    return Ratings(first, second, tuple(group for *_, group in pairs), LEVELS[:2] if harmful else LEVELS)


def _shown(agreement: Agreement) -> str:
    return f"{agreement.value:.3f} ({agreement.low:.3f} to {agreement.high:.3f})"


def _agree_on(line: str) -> Agreement:
    rows = _read(COMFORT)
    first, second = (tuple(str(row[line][side]) for row in rows) for side in (0, 1))
    return quadratic_kappa(Ratings(first, second, tuple(row["group"] for row in rows), LEVELS[:3]))


def _comfort_made() -> str:
    """A line for each way of making answers: the mean rating, 0 to 2, and the share either reader marked."""
    lines = ["| answers | n | " + " | ".join((*LINES, *FLAGS)) + " |", "| --- " * 7 + "|"]
    rows = _read(COMFORT)
    for made in sorted({row["made"] for row in rows}):
        some = [row for row in rows if row["made"] == made]
        means = [sum(sum(row[line]) for row in some) / (2 * len(some)) for line in LINES]
        shares = [sum(any(row[flag]) for row in some) / len(some) for flag in FLAGS]
        lines.append(f"| {made} | {len(some)} | " + " | ".join(f"{value:.2f}" for value in (*means, *shares)) + " |")
    return "\n".join(lines)


def _audits() -> dict[str, dict[str, Any]]:
    audits: dict[str, dict[str, Any]] = json.loads((FOLDER / "judges" / "audit.json").read_text(encoding="utf-8"))
    return audits


def _judges(audits: dict[str, dict[str, Any]]) -> str:
    lines = ["| judge | kappa within levels | sensitivity to accept | specificity to accept | n |", "| --- " * 5 + "|"]
    names = ("kappa_stratified", "accept_sensitivity", "accept_specificity")
    for judge, audit in audits.items():
        cells = [_interval(audit[name]) for name in names]
        lines.append(f"| {judge} | " + " | ".join(cells) + f" | {audit['kappa']['n']} |")
    return "\n".join(lines)


def _beside(audits: dict[str, dict[str, Any]]) -> str:
    """Paired differences of kappa, a line each."""
    return "\n".join(
        f"* `{name}` above {other}, kappa within levels, {which} (n = {more['n']}): {_interval(more)}, one-sided 95 % "
        f"lower bound {more['lower_bound']:.2f}."
        for name in PACKAGED
        for other, by_answers in audits[name]["better_than"].items()
        for which, more in by_answers.items()
    )


def _parts(audits: dict[str, dict[str, Any]]) -> str:
    head = "| answers | n (scenarios) | refusals | trainer agrees | kappa | selector agrees | kappa |"
    lines = [head, "| --- " * 7 + "|"]
    for column, values in audits["trainer"]["by"].items():
        for value, first in values.items():
            cells = [
                f"{_interval(part['agree'])} | {_interval(part['kappa'])}"
                for part in (first, audits["selector"]["by"][column][value])
            ]
            name = f"harm {value}" if column == "harm" else value
            counts = f"{first['n']} ({first['groups']}) | {first['refusals']}"
            lines.append(f"| {name} | {counts} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _attacks(audits: dict[str, dict[str, Any]]) -> str:
    lines = ["| refusal | trainer | selector |", "| --- " * 3 + "|"]
    for name, first in audits["trainer"]["refusal_around_accepted"].items():
        second = audits["selector"]["refusal_around_accepted"][name]
        lines.append(f"| {name} | {_interval(first)}, n = {first['n']} | {_interval(second)}, n = {second['n']} |")
    return "\n".join(lines)


def _outside(audits: dict[str, dict[str, Any]]) -> str:
    known = {name: audits[name]["outside"] for name in (*PACKAGED, "phrases") if "outside" in audits[name]}
    if not known:
        return "They are not to be used on answers of another model without an audit there."
    shown = ", ".join(f"{_interval(one['kappa'])} ({name})" for name, one in known.items())
    n = max(one["n"] for one in known.values())
    elsewhere = f"On {n} answers of other models to jailbreak prompts, kappa is {shown}"
    return f"**{elsewhere}: trainer and selector do not work there.**"


def _interval(value: dict[str, Any]) -> str:
    return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def _counts(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| part | " + " | ".join(f"harm {level}" for level in LEVELS) + " | partners | with a reference | red flags |"
    ]
    lines.append("| --- " * 8 + "|")
    for part in PARTS:
        own = [row for row in rows if row["split"] == part]
        levels = [_rows_and_scenarios([row for row in own if row["harm"] == int(level)]) for level in LEVELS]
        kinds = Counter(row["kind"] for row in own)
        cells = [*levels, kinds["partner"], sum("reference" in row for row in own), kinds["red_flag"]]
        lines.append(f"| {part} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _rows_and_scenarios(rows: list[dict[str, Any]]) -> str:
    return f"{len(rows)} ({len({row['group'] for row in rows})})"


def _shares(values: Any) -> str:
    counts = Counter(values)
    return ", ".join(f"{name} {n}" for name, n in counts.most_common())


if __name__ == "__main__":
    main()
