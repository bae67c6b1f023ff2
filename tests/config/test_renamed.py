"""An old config key is refused with the name that it has now."""

import pytest

from bedside.config.loader import load
from bedside.config.renamed import RENAMED
from bedside.config.schema import Config
from bedside.core.errors import ConfigError

DATA = {"kind": "jsonl", "path": "p.jsonl"}
DEFAULTS = {"target": "m", "data": {"train": DATA, "valid": DATA, "test": DATA}}


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_key_gets_one_line_that_names_the_new_one(old):
    judges = {"judges": {"0": {"kind": "labels", "path": "l.csv"}}}
    with pytest.raises(ConfigError) as refused:
        load(Config, None, [f"{old.replace('*', '0')}=1"], DEFAULTS | judges)
    assert str(refused.value) == f"--set: {old.replace('*', '0')}: this key is now {RENAMED[old]}"
