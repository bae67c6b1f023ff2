"""A run folder belongs to one config: another experiment never overwrites it."""

import pytest

import bedside
from bedside.config.schema import Config
from bedside.core.errors import ConfigError
from bedside.run.folder import write_config
from bedside.run.stage_cache import StageCache


def config(epochs):
    data = {part: {"kind": "clinic", "part": part, "n": 10} for part in ("train", "valid", "test")}
    return Config.model_validate({"target": "embedded", "data": data, "align": {"num_train_epochs": epochs}})


def test_a_folder_without_results_takes_another_config_and_one_with_results_refuses_it(tmp_path):
    folder = tmp_path / "runs" / "run"
    write_config(StageCache(folder), config(epochs=1))
    write_config(StageCache(folder), config(epochs=2))
    (folder / "store" / "generate" / "key").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"continue it unchanged: --set align\.num_train_epochs=2"):
        write_config(StageCache(folder), config(epochs=3))


def test_a_folder_of_another_layout_is_refused_by_what_writes_and_what_reads(tmp_path):
    folder = tmp_path / "r"
    write_config(StageCache(folder), config(epochs=1))
    assert (folder / "layout.yaml").read_text() == "layout: 3\n"
    (folder / "layout.yaml").unlink()
    (folder / "summary.json").write_text("{}")
    for use in (lambda: write_config(StageCache(folder), config(epochs=1)), lambda: bedside.select(folder)):
        with pytest.raises(ConfigError) as refused:
            use()
        assert "has layout 1, and this version of Bedside reads layout 3" in str(refused.value)
        assert "\n" not in str(refused.value)
