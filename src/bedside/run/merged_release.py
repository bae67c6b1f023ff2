"""What a run released, merged into its base: a folder that opens without PEFT and is whole, or is not there.

The run's log holds the digest of every file, so that `bedside erase` names the folder, a second call of the same
command finds it done, and one that was killed goes on. A folder with any other file is somebody's, and is refused.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from bedside.core.errors import ConfigError
from bedside.core.hashing import digest_file
from bedside.data import io
from bedside.data.new_folder import new_folder, remove_dead_drafts
from bedside.models.model_files import CONFIG
from bedside.run.events import EventLog
from bedside.run.exports import EXPORTED, RELEASE
from bedside.run.owner import owned

CARD, MADE_FROM = "README.md", "run.json"


def write(run: Path, to: Path, base_digest: str | None) -> None:
    """Merge ``release/`` of ``run`` into the folder ``to``, which is new, empty, or holds what this wrote before.

    ConfigError where it holds anything else; for others and ``base_digest`` see ``merging.merge``.
    """
    if to.exists() and not to.is_dir():
        raise ConfigError(f"{to} is a file; name a new folder")
    remove_dead_drafts(to)
    written = _written_before(run, to)
    there = _digests(to)
    others = [name for name, found in there.items() if written.get(name) != found]
    if others:
        raise ConfigError(f"{to} holds files, {others[0]} for one, that are not of this release; name a new folder")
    if there and there.keys() == written.keys():
        return
    with owned(run), new_folder(to, CONFIG) as draft:
        _fill(run / RELEASE, draft, base_digest)
        EventLog(run).append(EXPORTED, adapter=RELEASE, to=str(to.resolve()), files=_digests(draft))


def _fill(released: Path, draft: Path, base_digest: str | None) -> None:
    from bedside.models import merging

    merging.merge(released, draft, base_digest)
    card = (released / CARD).read_text(encoding="utf-8")
    (draft / CARD).write_text(card.replace("library_name: peft", "library_name: transformers", 1), encoding="utf-8")
    shutil.copy(released / MADE_FROM, draft / MADE_FROM)


def _written_before(run: Path, to: Path) -> Mapping[str, str]:
    """The digest of each file, by the log, if ``to`` was written from the release that is there now."""
    events = [
        event for event in EventLog(run).read() if event["event"] == EXPORTED and event["to"] == str(to.resolve())
    ]
    files: Mapping[str, str] = events[-1].get("files", {}) if events else {}
    return files if files.get(MADE_FROM) == digest_file(run / RELEASE / MADE_FROM) else {}


def _digests(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    inside = {file.relative_to(folder): file for file in files}
    return {
        name.as_posix(): digest_file(file)
        for name, file in inside.items()
        if not any(io.is_draft(part) for part in (name, *name.parents))
    }
