"""Attacks on prompts: how a run's assistant answers under them, or only the transformed prompts."""

from pathlib import Path
from typing import TYPE_CHECKING

from bedside.api.configs import ConfigSource, load, settle
from bedside.api.loop import read_run, run_folder
from bedside.api.opening import opened_run
from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.extras import needs_extras
from bedside.core.protocols import Progress
from bedside.run.folder import CONFIG, write_config

if TYPE_CHECKING:
    from bedside.core.attack_results import AttackReport
    from bedside.deployment.attack import AttackRequest


@needs_extras()
def attack(
    run: ConfigSource, request: "AttackRequest | None" = None, progress: Progress | None = None
) -> "AttackReport":
    """Ask a finished run's target and selected checkpoint the same prompts in other forms, and compare.

    ``run``: its folder, its name in ``runs/``, or its config. ``request``: which attacks, on which prompts; by default
    each attack, on test. Finished answers are not generated again. Writes ``attack.json`` into the run folder, and the
    report again. Raises DataError if the run is not finished.

    >>> request = bedside.AttackRequest(attacks=("role-play", "homoglyphs"), part="valid", limit=8)
    >>> report = bedside.attack("tour", request, bedside.SilentProgress())
    >>> sorted(result.attack for result in report.attacks)
    ['homoglyphs', 'role-play']
    """
    from bedside.deployment import attack as attacking

    config, own = _config(run)
    with opened_run(config, progress) as opened:
        if not own:
            write_config(opened.cache, opened.config)
        report = attacking.attack(opened, request or attacking.AttackRequest())
    read_run(opened.folder).report()
    return report


def _config(run: ConfigSource) -> tuple[Config, bool]:
    """The config, and whether it is the one that the run itself wrote."""
    if isinstance(run, (str, Path)):
        folder = run_folder(run)
        if (folder / CONFIG).is_file():
            return load(folder / CONFIG, [f"runs={folder.parent}", f"run={folder.name}"]), True
        if Path(run).is_file() and Path(run).suffix.lower() not in (".yaml", ".yml"):
            raise ConfigError(
                f"{run} is not a run: `bedside attack {run} -o OUT.jsonl` writes its prompts in other forms; "
                f"`bedside attack RUN --prompts {run}` puts them to a run's assistant"
            )
        if not Path(run).is_file():
            raise DataError(f"{folder}: there is no run here; name a run, its folder, or give its config with -c FILE")
    return settle(run), False


def transform_prompts(prompts: str | Path, out: str | Path, request: "AttackRequest | None" = None) -> dict[str, int]:
    """Write the prompts of a file in the form of each attack to ``out``, JSON Lines or CSV. No model is needed.

    ``prompts``: your own file, or one of garak (.txt, .json, .jsonl) or PyRIT (.yaml, .prompt). Harm levels and groups
    are kept. Returns the number of rows by attack.

    >>> bedside.transform_prompts("prompts.csv", "attacked.jsonl", bedside.AttackRequest(attacks=("role-play",)))
    {'role-play': 6}
    """
    from bedside.deployment import attack as attacking

    return attacking.transform_file(Path(prompts), Path(out), request or attacking.AttackRequest())
