"""Names are the field's terms: words of the old dialect stay out, and no public type has two meanings."""

import ast
import collections
import io
import tokenize

import pytest
import yaml

from bedside.config.renamed import RENAMED
from tests.support.paths import ROOT

FILES = sorted((ROOT / "src" / "bedside").rglob("*.py"))
OLD_TYPES = {
    "Pair", "Thumb", "Lesson", "Ask", "Judged", "Bench", "Desk", "Taught", "Trained", "Flow", "Place", "Rows", "Purse",
    "Bill", "Spent", "Line", "Manners", "Garbled", "Around", "Slot", "Bed", "Session",
}  # fmt: skip
OLD_NAMES = {
    "told", "found", "said", "wearing", "lifted", "lay", "cut", "shadow", "taught", "carried", "ships", "shipped",
    "thumbs", "twins", "facets", "wanted", "bench", "desk", "lesson", "purse",
}  # fmt: skip
OLD_MODULES = {"teach", "beside", "pressure", "warm", "hostile", "planted", "joined", "sealed", "fused", "steps"}
MOST_LINES = 600


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def public_names(path):
    """Classes, functions, parameters and fields that are defined in the file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name.lstrip("_")
        elif isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.ClassDef):
            yield from (
                n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT / "src" / "bedside").as_posix())
def test_a_file_defines_no_name_of_the_old_dialect_and_has_one_idea(path):
    assert not set(public_names(path)) & (OLD_TYPES | OLD_NAMES)
    assert path.stem not in OLD_MODULES
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


def test_told_found_and_said_are_rare_even_as_local_names():
    words = collections.Counter(
        token.string
        for path in FILES
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.NAME and token.string in ("told", "found", "said")
    )
    assert words.total() <= 20, words


def test_no_public_type_name_means_two_things():
    names = collections.Counter(
        node.name
        for path in FILES
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and node.name[0] != "_"
    )
    assert not [name for name, times in names.items() if times > 1]


def test_old_config_keys_stand_in_renamed_py_alone():
    keys = {old.rpartition(".")[2] for old in RENAMED}
    for file in (ROOT / "src" / "bedside" / "config" / "templates").glob("*.yaml"):
        assert not keys & set(_keys(yaml.safe_load(file.read_text(encoding="utf-8")))), file.name


def _keys(value):
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
