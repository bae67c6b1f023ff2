"""An old config key is refused with the name that it has now."""

import pytest

from bedside.config.loader import load
from bedside.config.renamed import KINDS, RENAMED
from bedside.config.schema import Config
from bedside.core.errors import ConfigError

DATA = {"kind": "jsonl", "path": "p.jsonl"}
DEFAULTS = {"target": "m", "data": {"train": DATA, "valid": DATA, "test": DATA}}


def place(old):
    """An example of a place: a data set is called train, a judge 0."""
    return old.replace("data.*", "data.train").replace("**", "0.judges.1").replace("*", "0")


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_key_gets_one_line_that_names_the_new_one(old):
    labels = {"kind": "labels", "path": "l.csv"}
    judges = {"judges": {"0": {"kind": "ensemble", "judges": [labels, labels]}}}
    with pytest.raises(ConfigError) as refused:
        load(Config, None, [f"{place(old)}=1"], DEFAULTS | judges)
    assert f"--set: {place(old)}: this key is now {RENAMED[old]}" in str(refused.value).splitlines()


@pytest.mark.parametrize(("table", "old", "new"), [("target", "http", "openai"), ("judges.x", "panel", "ensemble")])
def test_an_old_kind_gets_one_line_that_names_the_new_one(table, old, new):
    assert KINDS[old] == new
    with pytest.raises(ConfigError) as refused:
        load(Config, None, [f"{table}={{kind: {old}}}"], DEFAULTS)
    assert str(refused.value) == f"--set: {table}.kind: kind {old!r} is now called {new!r}"
