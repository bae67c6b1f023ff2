"""``bedside rewrite`` and ``bedside comfort``: dialogues rewritten and verified; comfort against knowledge."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bedside.cli import options

if TYPE_CHECKING:
    from bedside.run.session import Session


@options.app.command()
def rewrite(
    config: options.File = None,
    sets: options.Sets = None,
    n: options.Few = None,
    json_: options.Json = False,
    seed: options.Seed = None,
    run: options.Name = None,
) -> None:
    """Rewrite dialogues: distressed questions, soothing answers, every fact kept or the row dropped with its reason."""
    from bedside.comfort import experiment as flow
    from bedside.core.errors import StageError

    with _opened(config, sets, n, seed, run) as session:
        rows, flows = flow.rewrite(session)
    folder = session.store.root / "dialogues"
    if json_:
        options._print_json(
            {"rows": {k: len(v) for k, v in rows.items()}, "dropped": {f.step: dict(f.dropped) for f in flows}}
        )
    else:
        for told in flows:
            dropped = ", ".join(f"{k} {why}" for why, k in told.dropped.items() if k) or "none"
            options.OUT.print(f"{told.step}: {told.kept} kept; dropped: {dropped}")
        options.OUT.print(f"wrote {folder}: train, valid, test, sft, kto, dpo and the card")
    if not any(rows.values()):
        raise StageError(f"no dialogue was kept ({flow.why(flows)}); name another comfort.rewrite.model")


@options.app.command()
def comfort(
    config: options.File = None,
    sets: options.Sets = None,
    n: options.Few = None,
    json_: options.Json = False,
    seed: options.Seed = None,
    run: options.Name = None,
) -> None:
    """Rewrite; train SFT, KTO and DPO on the same rows; show comfort against knowledge. The same command resumes."""
    from bedside.cli import terminal
    from bedside.comfort import experiment as flow
    from bedside.core.hashing import plain
    from bedside.report import html

    with _opened(config, sets, n, seed, run) as session:
        told = flow.comfort(session)
    page = html.write_comfort(told, session.store.root / "comfort.html")
    if json_:
        options._print_json(plain(told))
    else:
        terminal.comfort(options.OUT, told)
        options.OUT.print(f"report: {page}; answers for people to compare: {page.parent / 'ab'}")


@contextmanager
def _opened(
    config: Path | None, sets: list[str] | None, n: int | None, seed: int | None, run: str | None
) -> "Iterator[Session]":
    """The run of the file named, else of bedside.yaml here, else of the packaged comfort.yaml."""
    from bedside import api
    from bedside.config.rendering import path

    packaged = config is None and not Path("bedside.yaml").exists()
    chosen = options._experiment(path("comfort.yaml") if packaged else config, sets, n, seed, run)
    with options._working() as progress:
        session = api.session(chosen, progress)
        api._keep(session.store.root, chosen)
        yield session
