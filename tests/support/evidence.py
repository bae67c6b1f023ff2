"""Evidence of `make prove`: one JSON file an experiment under docs/evidence, and the page that is written from it.

{section: {"made": "`make prove`, MACHINE, VERSIONS", "rows": [{column: value}, ...]}}
"""

import json
from collections.abc import Sequence
from typing import Any

from bedside.data.io import write_text
from tests.support.paths import EVIDENCE


def replace_section(experiment: str, section: str, made: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of a section anew. A section is known by its words before the first comma."""
    file = EVIDENCE / f"{experiment}.json"
    sections = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    same = [name for name in sections if name.partition(",")[0] == section.partition(",")[0]]
    kept = {name: value for name, value in sections.items() if name not in same}
    whole = dict(sorted({**kept, section: {"made": made, "rows": list(rows)}}.items()))
    write_text(file, _dumps(whole))
    write_text(file.with_suffix(".md"), page(experiment, whole))


def page(experiment: str, sections: dict[str, Any]) -> str:
    """The page of one experiment: its sections, each with a table."""
    title = experiment.replace("-", " ").capitalize()
    return "\n".join([f"# {title}\n", *(_section(name, value) for name, value in sections.items())])


def _section(name: str, section: dict[str, Any]) -> str:
    heading = f"## {name[0].upper()}{name[1:]}\n\n" if name else ""
    rows = section["rows"]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{heading}{section['made']}.\n\n{table}\n"


def _dumps(sections: dict[str, Any]) -> str:
    """JSON with a row a line."""
    return "{\n" + ",\n".join(f"{_json(name)}: {_block(section)}" for name, section in sections.items()) + "\n}\n"


def _block(section: dict[str, Any]) -> str:
    rows = ",\n".join(_json(row) for row in section["rows"])
    return f'{{"made": {_json(section["made"])}, "rows": [\n{rows}\n]}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
