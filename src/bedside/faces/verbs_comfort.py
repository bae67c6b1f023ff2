"""``bedside rewrite`` and ``bedside comfort``: dialogues rewritten and verified; comfort against knowledge."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bedside.faces import cli

if TYPE_CHECKING:
    from bedside.flows.session import Session


@cli.app.command()
def rewrite(
    config: cli.File = None,
    sets: cli.Sets = None,
    n: cli.Few = None,
    json_: cli.Json = False,
    seed: cli.Seed = None,
    run: cli.Name = None,
) -> None:
    """Rewrite dialogues: distressed questions, soothing answers, every fact kept or the row dropped with its reason."""
    from bedside.core.errors import StageError
    from bedside.flows import comfort as flow

    with _opened(config, sets, n, seed, run) as session:
        rows, flows = flow.rewrite(session)
    folder = session.store.root / "dialogues"
    if json_:
        cli._print_json(
            {"rows": {k: len(v) for k, v in rows.items()}, "dropped": {f.step: dict(f.dropped) for f in flows}}
        )
    else:
        for told in flows:
            dropped = ", ".join(f"{k} {why}" for why, k in told.dropped.items() if k) or "none"
            cli.OUT.print(f"{told.step}: {told.kept} kept; dropped: {dropped}")
        cli.OUT.print(f"wrote {folder}: train, valid, test, sft, kto, dpo and the card")
    if not any(rows.values()):
        raise StageError(f"no dialogue was kept ({flow.why(flows)}); name another comfort.rewrite.model")


@cli.app.command()
def comfort(
    config: cli.File = None,
    sets: cli.Sets = None,
    n: cli.Few = None,
    json_: cli.Json = False,
    seed: cli.Seed = None,
    run: cli.Name = None,
) -> None:
    """Rewrite; train SFT, KTO and DPO on the same rows; show comfort against knowledge. The same command resumes."""
    from bedside.core.identity import plain
    from bedside.faces import report_comfort, tables_comfort
    from bedside.flows import comfort as flow

    with _opened(config, sets, n, seed, run) as session:
        told = flow.comfort(session)
    page = report_comfort.write(told, session.store.root / "comfort.html")
    if json_:
        cli._print_json(plain(told))
    else:
        tables_comfort.show(cli.OUT, told)
        cli.OUT.print(f"report: {page}; answers for people to compare: {page.parent / 'ab'}")


@contextmanager
def _opened(
    config: Path | None, sets: list[str] | None, n: int | None, seed: int | None, run: str | None
) -> "Iterator[Session]":
    """The run of the file named, else of bedside.yaml here, else of the packaged comfort.yaml."""
    from bedside.faces import api
    from bedside.kernel.templates import path

    packaged = config is None and not Path("bedside.yaml").exists()
    chosen = cli._experiment(path("comfort.yaml") if packaged else config, sets, n, seed, run)
    with cli._working() as progress:
        session = api.session(chosen, progress)
        api._keep(session.store.root, chosen)
        yield session
