"""The verbs ``rewrite`` and ``comfort``: dialogues rewritten and verified; comfort compared with knowledge."""

from pathlib import Path
from typing import TYPE_CHECKING

from bedside.cli.options import OUT, File, Json, Limit, Name, Seed, Sets, app, load_data_config, overrides, print_json

if TYPE_CHECKING:
    from bedside.config.schema import Config


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
    from bedside import api
    from bedside.cli import terminal
    from bedside.core.errors import StageError

    result = api.rewrite(_load(config, overrides(sets, limit=limit, seed=seed, run=run)))
    if json_:
        print_json({"rows": result.counts, "dropped": {c.step: dict(c.dropped) for c in result.filter_counts}})
    else:
        terminal.print_rewriting(OUT, result)
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
) -> None:
    """Rewrite, train SFT, KTO and DPO on the same rows; compare comfort with knowledge. The same command resumes."""
    from bedside import api
    from bedside.cli import terminal

    result = api.run_comfort(_load(config, overrides(sets, limit=limit, seed=seed, run=run)))
    if json_:
        print_json(result.as_json())
    else:
        terminal.print_comfort(OUT, result.summary)
        OUT.print(f"report: {result.page}; answers for people to compare: {result.folder / 'ab'}")


def _load(file: Path | None, sets: list[str]) -> "Config":
    """The config in ``file``, else in bedside.yaml here, else the packaged comfort.yaml."""
    from bedside.config.rendering import path

    packaged = file is None and not Path("bedside.yaml").exists()
    return load_data_config(path("comfort.yaml") if packaged else file, sets)
