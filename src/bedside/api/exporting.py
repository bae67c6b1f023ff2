"""What a run may release, and its judged answers, for other tools."""

from dataclasses import dataclass
from pathlib import Path

from bedside.api.loop import read_run, run_folder
from bedside.core.errors import ConfigError, DataError
from bedside.core.extras import needs_extras
from bedside.run import environment, merged_release, publishing
from bedside.run.events import EventLog, check_run_file


@dataclass(frozen=True)
class ExportRequest:
    """What `bedside export` writes. Nothing leaves this machine but by ``push``."""

    merge: str | Path | None = None
    """A new folder for the base with the released adapter merged in."""
    push: str | None = None
    """A repository on the Hugging Face hub, owner/name: it gets the merged model, or else ``release/``."""
    inspect: str | Path | None = None
    """A file for the judged answers to the held-out test, as a log of inspect_ai."""
    token_env: str = publishing.TOKEN
    """NAME of the environment variable that holds the hub's token."""


@dataclass(frozen=True)
class Exported:
    """What was written, and where it was uploaded to."""

    written: tuple[Path, ...]
    pushed: str = ""
    """An address on the hub; empty where nothing was uploaded."""


@needs_extras()
def export(run: str | Path, request: ExportRequest) -> Exported:
    """Merge, upload, or log the judged answers of a finished run. ``run``: its folder, or its name in ``runs/``.

    DataError where there is no finished run, or nothing was released that could be merged or uploaded; ConfigError
    where a release would not open elsewhere, or the hub refuses.

    >>> done = bedside.export("tour", bedside.ExportRequest(inspect="tour.json"))
    >>> [file.name for file in done.written]
    ['tour.json']
    """
    from bedside.report import inspect_log

    folder = run_folder(run)
    if not (request.merge or request.push or request.inspect):
        raise ConfigError("say what to export: --merge FOLDER, --push REPO or --inspect FILE")
    written: list[Path] = []
    if request.inspect:
        inspect_log.write(folder, Path(request.inspect))
        written.append(Path(request.inspect))
    if request.merge:
        _merge(folder, Path(request.merge))
        written.append(Path(request.merge))
    return Exported(tuple(written), _push(folder, request) if request.push else "")


def _released(folder: Path) -> Path:
    """The folder of what may be released, unchanged and whole."""
    run = read_run(folder)
    if run.released is None:
        raise DataError(f"{folder}: {run.verdict}: there is nothing to merge or to upload")
    check_run_file(run.released.folder)
    for name in (merged_release.CARD, merged_release.MADE_FROM):
        if not (run.released.folder / name).is_file():
            raise DataError(f"{run.released.folder / name} is missing: the same `bedside align` command writes it")
    return run.released.folder


def _merge(folder: Path, to: Path) -> None:
    from bedside.config import loader
    from bedside.config.schema import Config

    released = _released(folder)
    environment.silence_libraries()
    check_run_file(folder / "config.yaml")
    target = loader.load(Config, folder / "config.yaml").config.target
    if getattr(target, "quantize", None):
        raise ConfigError(f"{folder}: its figures are of quantised weights (target.quantize); merged ones are not")
    facts = read_run(folder).summary.facts
    as_stored = getattr(target, "chat_template", None) is None and not getattr(target, "thinking", False)
    on_adapter = (released / "on-target").is_dir()
    merged_release.write(folder, to, facts.get("target digest") if as_stored and not on_adapter else None)


def _push(folder: Path, request: ExportRequest) -> str:
    released = _released(folder)
    if request.merge is None:
        _require_hub_base(released)
        _require_nothing_added(folder, released)
    source = Path(request.merge) if request.merge else released
    return publishing.push(source, str(request.push), request.token_env, environment.secret)


def _require_hub_base(released: Path) -> None:
    """ConfigError for an adapter on a model that only this machine has."""
    from bedside.training.adapters import base_name

    base = base_name(released)
    if Path(base).is_absolute():
        raise ConfigError("the adapter's base is a folder of this machine, which nobody else has: add --merge FOLDER")


def _require_nothing_added(folder: Path, released: Path) -> None:
    """DataError for a file that the run did not write: everything in the folder would be uploaded."""
    logged = EventLog(folder).digests()
    for file in sorted(path for path in released.rglob("*") if not path.is_dir()):
        if file.relative_to(folder).as_posix() not in logged:
            raise DataError(f"{file}: this run did not write it, and it would be uploaded; move it out of {released}")
