"""Configs, and the plug-ins that a config may name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.config import loader as configs
from bedside.config import plugins, rendering, yaml_source
from bedside.config.schema import Config
from bedside.core.errors import ConfigError
from bedside.data.io import write_text
from bedside.run import environment
from bedside.run.events import check_run_file

if TYPE_CHECKING:
    from bedside.alignment.starting import InitQuestion, InitRequest

CONFIG = "bedside.yaml"
ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, the path of a config file, or a mapping with the keys of one."""


def load(path: str | Path | None = None, sets: Sequence[str] = ()) -> Config:
    """The config in the file ``path``, with ``sets`` ("a.b=c") over it.

    Raises ConfigError with one line per mistake.

    >>> config = bedside.load("bedside.yaml", ["align.cycles=2"])
    >>> config.align.cycles
    2
    """
    return resolve(path, sets).config


def resolve(path: str | Path | None = None, sets: Sequence[str] = ()) -> "configs.Loaded[Config]":
    """The config of ``load``, with the origin of each value.

    >>> bedside.resolve("bedside.yaml", ["seed=3"]).origins["seed"]
    '--set'
    """
    if path is not None:
        check_run_file(Path(path))
    return configs.load(Config, Path(path) if path is not None else None, sets)


def default_config(run: str, sets: Sequence[str] = ()) -> Config:
    """A config for verbs that work on files: the defaults, and the embedded model as target."""
    data = {part: {"kind": "clinic", "part": part, "n": 1} for part in ("train", "valid", "test")}
    defaults = {"run": run, "target": {"kind": "local", "model": "embedded"}, "data": data}
    return configs.load(Config, None, sets, defaults).config


def init(
    folder: str | Path = ".", request: "InitRequest | None" = None, ask: "Callable[[InitQuestion], str] | None" = None
) -> list[Path]:
    """Write a ``bedside.yaml`` into ``folder``. Returns the files.

    With ``request`` it is a config for that model, file of prompts and judge; ``ask`` answers what it leaves open.
    Without one it is a commented example with every key, beside a few prompts. Raises ConfigError if a file exists
    (nothing is overwritten), or for something open that nobody answers; DataError for prompts that cannot be used.

    >>> [file.name for file in bedside.init("my-run")]
    ['bedside.yaml', 'prompts.jsonl']
    >>> request = bedside.InitRequest("prompts.csv", model="smollm2")
    >>> bedside.init("own", request)[0].name
    'bedside.yaml'
    """
    folder = Path(folder)
    if file := next((place for place in (folder, *folder.parents) if place.is_file()), None):
        raise ConfigError(f"{file} is a file; name a folder, which is created if it does not exist")
    templates = {CONFIG: "bedside.yaml"} if request else {"data/prompts.jsonl": "prompts.jsonl", CONFIG: "bedside.yaml"}
    if existing := [folder / file for file in (CONFIG, *templates) if _is_anothers(folder / file, templates[file])]:
        raise ConfigError(f"{existing[0]} exists already; remove it or choose another folder")
    if request:
        files = {folder / CONFIG: _own_config(request, folder, ask)}
    else:  # the config comes last: where it is not there, a second call goes on
        files = {folder / file: rendering.source(template) for file, template in templates.items()}
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return list(files)[::-1]


def _is_anothers(file: Path, template: str) -> bool:
    """Whether somebody could lose ``file``. Prompts that a killed call wrote are as they would be written now."""
    written = file.is_file() and file.read_bytes() == rendering.source(template).encode("utf-8")
    return file.exists() and (file.name == CONFIG or not written)


def _own_config(request: "InitRequest", folder: Path, ask: "Callable[[InitQuestion], str] | None") -> str:
    """The text of a config that loads."""
    from bedside.alignment import starting

    text = starting.config_text(request, folder, ask, environment.secret)
    configs.load(Config, None, (), yaml_source.parse(text, "bedside.yaml"))
    return text


def list_plugins() -> dict[str, list[str]]:
    """The names of all plug-ins by kind, those of other packages included. Imports none of them.

    >>> "keyword" in bedside.list_plugins()["judge"]
    True
    """
    return {kind: plugins.names(kind) for kind in plugins.BUILT_IN}


def settle(config: ConfigSource | None, run: str = "run") -> Config:
    """The config that ``config`` gives. For None: the file in this folder, else the defaults with the name ``run``."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return configs.load(Config, None, (), config).config
    if config is None and not Path("bedside.yaml").exists():
        return default_config(run)
    return load(config or "bedside.yaml")
