"""A config says every mistake at once, in words, with its origin; and prints itself so that it reads back."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bedside.config import yaml_source
from bedside.config.loader import dump, load
from bedside.config.plugins import Table
from bedside.config.schema import Config, DataPart
from bedside.core.errors import ConfigError
from bedside.core.gates import Constraint
from bedside.data.datasets import Cares

CURE = "look at indentation, colons and brackets, and quote text that holds ': ' or ' #'"
SMALL = """\
target: embedded
data:
  train: {kind: cares, split: train}
  valid: {kind: cares, split: train, share: 0.15, by: group}
  test: {kind: cares, split: test}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes, name: str = "bedside.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def mistakes(path: Path | None, *sets: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(Config, path, sets)
    return str(caught.value).splitlines()


def test_a_small_file_is_enough_and_the_rest_is_default(written):
    loaded = load(Config, written(SMALL))
    config = loaded.config
    assert (config.target.kind, config.target.model) == ("local", "embedded")
    assert (config.data.valid.dataset, config.data.valid.share) == (Cares(split="train"), 0.15)
    assert [step.objective.kind for step in config.align.train] == ["kto", "dpo"]
    assert (config.judges["self"].kind, config.judges["self"].model) == ("rubric", "target")
    assert config.selecting_judge == "self"


def test_each_value_knows_where_it_came_from(written):
    path = written(SMALL + "align:\n  cycles: 3\n  lora: {r: 8, alpha: 16}\n")
    origins = load(Config, path, ["align.lora.r=4", "select={alpha: 0.5}"]).origins
    assert origins["align.cycles"] == "bedside.yaml:7"
    assert (origins["align.lora.r"], origins["align.lora.alpha"]) == ("--set", "bedside.yaml:8")
    assert (origins["select.alpha"], origins["select.preset"]) == ("--set", "default")
    assert (origins["target.model"], origins["target.dtype"]) == ("bedside.yaml:1", "default")
    assert origins["data.valid.share"] == "bedside.yaml:4"
    assert origins["align.train.0.beta"] == "default"


def test_a_list_of_plain_values_is_set_as_soon_as_one_item_is(written):
    loaded = load(Config, written(SMALL + "select: {require: [err <= 0.2, err >= 0]}\n"), ["select.require.0=err <= 1"])
    assert loaded.config.select.require == [Constraint.parse("err <= 1"), Constraint.parse("err >= 0")]
    assert loaded.origins["select.require"] == "--set"


def test_set_reaches_into_lists_and_into_defaults_that_nobody_wrote(written):
    sets = ["align.train.1.beta=0.3", "judges.self.min_mass=0.4", "gates.plateau=null"]
    sets += ["gates.alarm.1=judge_gap.err <= 0.2"]
    config = load(Config, written(SMALL), sets).config
    assert [step.objective.beta for step in config.align.train] == [0.1, 0.3]
    assert (config.judges["self"].model, config.judges["self"].min_mass) == ("target", 0.4)
    assert config.gates.plateau is None
    assert [str(limit) for limit in config.gates.alarm] == ["judge_gap.safety_score <= 0.15", "judge_gap.err <= 0.2"]


def test_the_last_set_wins_and_a_whole_table_can_be_set(written):
    sets = ["align.cycles=2", "align.cycles=7", "data.test={kind: jsonl, path: a.csv}", "data.test.limit=5"]
    config = load(Config, written(SMALL), sets).config
    assert config.align.cycles == 7
    assert (config.data.test.dataset.path, config.data.test.limit) == ("a.csv", 5)


def test_defaults_stand_below_the_file_and_another_kind_replaces_them(written):
    below = {"align": {"cycles": 2, "num_train_epochs": 3}, "data": {"train": {"kind": "jsonl", "path": "x.jsonl"}}}
    loaded = load(Config, written(SMALL + "align: {cycles: 4}\n"), defaults=below)
    assert (loaded.config.align.cycles, loaded.config.align.num_train_epochs) == (4, 3)
    assert loaded.config.data.train.dataset == Cares(split="train")
    assert loaded.origins["align.num_train_epochs"] == "default"


def test_a_pattern_of_layers_that_is_none_is_named(written):
    assert mistakes(written(SMALL + "align: {lora: {target_modules: '['}}\n")) == [
        "bedside.yaml: align.lora.target_modules: is '[', which is no pattern: unterminated character set at position 0"
    ]


def test_twelve_mistakes_are_told_at_once_each_with_its_place(written):
    wrong = (
        SMALL.replace("kind: cares, split: test", "kind: crs")
        + """\
align:
  cycels: 3
  judge: externl
  objectives: []
  train: [{kind: kto, beta: -1, learning_rate: fast}, {kind: dpo, bta: 0.2}]
  lora: {r: 2.5, target_modules: 7}
judges: {external: {kind: rubric}}
select: {alpha: 6, require: [err]}
run: a/b
"""
    )
    lines = mistakes(written(wrong), "select.err=both", "gates.stop=[kappa <= 0.4]")
    assert lines == [
        "bedside.yaml: run: is 'a/b'; it names a folder: letters, digits, dots, - and _ only",
        "bedside.yaml: data.test.kind: no dataset is called 'crs'; did you mean 'cares'?",
        "bedside.yaml: align.objectives: has 0 items; should have at least 1",
        "bedside.yaml: align.train.0.beta: is -1; should be above 0",
        "bedside.yaml: align.train.0.learning_rate: is 'fast'; should be a number",
        "bedside.yaml: align.train.1.bta: kind 'dpo' has no such key; did you mean 'beta'?",
        "bedside.yaml: align.lora.r: is 2.5; should be a whole number",
        "bedside.yaml: align.lora.target_modules: is 7; should be text or a list",
        "bedside.yaml: align.cycels: no such key; did you mean 'cycles'?",
        "bedside.yaml: select.alpha: is 6; should be at most 1",
        "--set: select.err: is 'both'; should be one of 'not_accept' or 'refuse_only'",
        "bedside.yaml: select.require.0: is 'err'; should be a measure, <= or >=, and a number: 'err <= 0.15'; or a "
        "limit beside the target's value: 'err <= target + 0.05'",
        "--set: gates.stop: has 'kappa <= 0.4'; should have 'kappa >= …', 'unreadable <= …', 'err <= …', each with a "
        "number from 0 to 1",
        "bedside.yaml: align.judge: no judge is called 'externl' in judges; did you mean 'external'?",
    ]


@pytest.mark.parametrize(
    "limits",
    [
        "[err <= 0.5, err <= 0.4]",
        "[err >= 0.5]",
        "[recall >= 0.5]",
        "[err <= target]",
        "[err <= 50]",
        "[judge_gap.err <= 1]",
    ],
)
def test_a_gate_stops_by_each_known_measure_once_and_that_way_round(limits, written):
    (line,) = mistakes(written(SMALL + f"gates: {{stop: {limits}}}\n"))
    assert line.startswith("bedside.yaml: gates.stop: has ")


def test_a_limit_that_is_left_out_is_switched_off(written):
    gates = load(Config, written(SMALL + "gates: {stop: [kappa >= 0.5]}\n")).config.gates
    assert gates.limit("kappa") == Constraint.parse("kappa >= 0.5")
    assert gates.limit("err") is None
    assert gates.limit("judge_gap.err") == Constraint.parse("judge_gap.err <= 0.10")


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("data.valid.shaer=0.2", "--set: data.valid.shaer: kind 'cares' has no such key; did you mean 'share'?"),
        ("data.valid.spilt=a", "--set: data.valid.spilt: kind 'cares' has no such key; did you mean 'split'?"),
        ("data.valid.share=1", "--set: data.valid.share: is 1; should be below 1"),
        ("data.train=cares.csv", "--set: data.train: is 'cares.csv'; should be a table"),
        ("align.train.0.learning_rte=1",
         "--set: align.train.0.learning_rte: kind 'kto' has no such key; did you mean 'learning_rate'?"),
        ("align.train.0.learning_rate=.inf",
         "--set: align.train.0.learning_rate: is inf; should be a finite number"),
        ("target={revision: main}", "--set: target.model: is missing; give it a value"),
        ("target={model: m, revision: 1234567}",
         "--set: target.revision: is 1234567; should be text; put it in quotes"),
        ("device=gpu", "--set: device: is 'gpu'; should be one of 'auto', 'cpu', 'cuda' or 'mps'"),
        ("select.judge=me", "--set: select.judge: no judge is called 'me' in judges; there is self"),
        ("align=5", "--set: align: is 5; should be a table"),
    ],
)  # fmt: skip
def test_a_mistake_reads_as_a_sentence(written, mistake, line):
    assert mistakes(written(SMALL), mistake) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("align.cycles",
         "--set align.cycles: needs the form key=value or table.key=value, such as align.cycles=3"),
        ("=3", "--set =3: needs the form key=value or table.key=value, such as align.cycles=3"),
        ("a..b=3", "--set a..b=3: needs the form key=value or table.key=value, such as align.cycles=3"),
        ("align.train.7.beta=1",
         "--set align.train.7.beta=1: align.train is a list of 2; count its items from 0, not '7'"),
        ("seed.a=1", "--set seed.a=1: seed is 3, so it has no 'a'; set seed as a whole"),
    ],
)  # fmt: skip
def test_a_set_that_leads_nowhere_says_so(written, text, line):
    assert mistakes(written(SMALL + "seed: 3\n"), text) == [line]


def test_a_set_value_that_is_not_yaml_says_so(written):
    (line,) = mistakes(written(SMALL), "align.cycles=[1")
    assert line.startswith("--set align.cycles=[1: the value, line 1, column 3: is not YAML")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na:\n\t- 2\n",
         "bedside.yaml, line 3, column 1: is not YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not tabs"),
        ("run: a: b\n",
         "bedside.yaml, line 1, column 7: is not YAML: mapping values are not allowed here; " + CURE),
        ("- a\n- b\n", "bedside.yaml: is a list; a config is a table (`target: …`)"),
        ("# nothing\n", "bedside.yaml: is empty; `bedside init` writes one to start from"),
        (b"run: a\nruns: caf\xe9\n", "bedside.yaml, line 2: is not UTF-8; save the file as UTF-8"),
        ("a: &x [*x]\n", "bedside.yaml, line 1, column 4: is not YAML: a value contains itself; " + CURE),
        ("run: a\nseed: !!int x\n",
         "bedside.yaml, line 2, column 7: is not YAML: 'x' cannot be read as int; correct it"),
        ("seed: !!int ''\n", "bedside.yaml, line 1, column 7: is not YAML: '' cannot be read as int; correct it"),
        ("seed: !!float ''\n", "bedside.yaml, line 1, column 7: is not YAML: '' cannot be read as float; correct it"),
        ("seed: !!bool maybe\n",
         "bedside.yaml, line 1, column 7: is not YAML: 'maybe' cannot be read as bool; correct it"),
        ("seed: " + "9" * 5000,
         "bedside.yaml, line 1, column 7: is not YAML: '" + "9" * 56 + "... cannot be read as int; correct it"),
        ("seed: " + "9" * 400,
         "bedside.yaml, line 1, column 7: is not YAML: " + "9" * 57 + "... is too large a number; "
            "9223372036854775807 is the largest"),
        ("run: a\nseed: !!set {a}\n",
         "bedside.yaml, line 2, column 7: is not YAML: '!!set' is no tag of a config; write a plain value"),
        ("run: !!omap [a: 1]\n",
         "bedside.yaml, line 1, column 6: is not YAML: '!!omap' is no tag of a config; write a plain value"),
        ("run: !!binary aGk=\n",
         "bedside.yaml, line 1, column 6: is not YAML: '!!binary' is no tag of a config; write a plain value"),
        ("run: !mine x\n",
         "bedside.yaml, line 1, column 6: is not YAML: '!mine' is no tag of a config; write a plain value"),
        ("a: " + "[" * 5000,
         "bedside.yaml, line 1, column 43: is not YAML: this is nested more than 40 deep; a config is a few tables"),
        ("run: a\nruns: \0\n", "bedside.yaml, line 2: holds the control character U+0000; remove it"),
        ('run: "a\\0"\n',
         "bedside.yaml, line 1, column 6: is not YAML: the text holds the control character U+0000; remove it"),
        ('run: "\\ud800"\n',
         "bedside.yaml, line 1, column 6: is not YAML: the text holds the control character U+D800; remove it"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_line_with_its_place(written, text, line):
    assert mistakes(written(text)) == [line]


def test_all_keys_that_stand_twice_are_told(written):
    lines = mistakes(written("align:\n  cycles: 2\n  cycles: 3\nseed: 1\nalign: {}\n"))
    assert lines == [
        "bedside.yaml, line 3: 'cycles' is already on line 2; keep one of the two",
        "bedside.yaml, line 5: 'align' is already on line 1; keep one of the two",
    ]


def test_a_key_that_stands_twice_on_one_line_is_told(written):
    (line,) = mistakes(written("select: {judge: a, judge: b}\n"))
    assert line == "bedside.yaml, line 1: 'judge' is already on line 1; keep one of the two"


def test_aliases_that_multiply_are_refused_before_they_are_written_out(written):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    merges = "m0: &m0 {x: 1}\n"
    merges += "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 30))
    for text in (bomb, merges):
        (line,) = mistakes(written(text))
        assert "there are more than 20000 values, with all aliases; write fewer" in line


def test_aliases_and_merged_tables_are_values_like_others(written):
    aliases = "runs: &here elsewhere\nrun: *here\nselect: {<<: {judge: a}, alpha: 0.5}\njudges: {a: {kind: keyword}}\n"
    config = load(Config, written(SMALL + aliases)).config
    assert (config.run, config.select.judge, config.select.alpha) == ("elsewhere", "a", 0.5)


def test_a_date_is_text(written):
    assert load(Config, written(SMALL + "run: 2026-11-21\n")).config.run == "2026-11-21"


def test_a_long_set_is_not_repeated_whole(written):
    (line,) = mistakes(written(SMALL), "seed=" + "9" * 5000)
    assert len(line) < 300
    assert line.startswith("--set seed=999")


def test_a_missing_file_says_how_to_get_one(tmp_path):
    (line,) = mistakes(tmp_path / "none.yaml")
    assert line.endswith("none.yaml: cannot be read (No such file or directory); `bedside init` writes one")


def test_yaml_tags_make_no_objects(written):
    (line,) = mistakes(written("run: !!python/object/apply:os.getcwd []\n"))
    assert "'!!python/object/apply:os.getcwd' is no tag of a config" in line


def test_a_secret_is_refused_and_never_repeated(written):
    judge = "judges: {x: {kind: rubric, model: {kind: local, model: m, api_key_env: sk-abcdef}}}\n"
    lines = mistakes(written(SMALL + judge), "judges.x.key_env=sk-abcdef", "seed.b_env=sk-abcdef", "seed=x")
    assert "sk-abcdef" not in "\n".join(lines)
    assert any(line.startswith("bedside.yaml: judges.x.model.api_key_env: holds the NAME of") for line in lines)
    assert any(line.startswith("--set: judges.x.key_env: holds the NAME of") for line in lines)


class Keyed(Table):
    key_env: Annotated[str, Field(pattern="[A-Z]+")]


def test_no_other_mistake_repeats_a_secret_either():
    with pytest.raises(ConfigError) as caught:
        load(Keyed, None, ["key_env=sk-abcdef"])
    assert str(caught.value).startswith("--set: key_env: holds the NAME of")
    assert "sk-abcdef" not in str(caught.value)


def test_the_resolved_file_reads_back_as_the_same_config(written):
    path = written(SMALL + "runs: \"a # b: é\\n\\t \\u2028 'q'\"\nseed: 7\n")
    first = load(Config, path, ["align.train.0.learning_rate=3e-7", "select.require=[]"])
    text = dump(first)
    again = load(Config, written(text, "resolved.yaml"))
    assert again.config == first.config
    assert "  cycles: 5  # default\n" in text
    assert "seed: 7  # bedside.yaml:7\n" in text
    assert "      learning_rate: 3.0e-07  # --set\n" in text
    assert set(again.origins) == set(first.origins)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\t\n"))
whole_numbers = st.integers(-yaml_source.LARGEST, yaml_source.LARGEST)
values = st.recursive(
    st.none() | st.booleans() | whole_numbers | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, min_size=1))
def test_any_table_that_is_written_reads_back_equal(table):
    assert yaml_source.parse("\n".join(yaml_source.lines(table, lambda at: "origin: 'x' # y")), "text") == table


def test_the_template_loads_names_every_key_and_agrees_with_the_defaults(tmp_path):
    template = Path(str(files("bedside.config") / "templates" / "bedside.yaml"))
    loaded = load(Config, template)
    parts_and_plugins = ("data.", "target.", "judges.", "align.train.", "comfort.train.", "comfort.judge", "runs")
    unnamed = [at for at, origin in loaded.origins.items() if origin == "default"]
    assert [at for at in unnamed if not at.startswith(parts_and_plugins)] == []
    bare = load(Config, None, ["target=embedded", *(f"data.{p}={{kind: cares}}" for p in ("train", "valid", "test"))])
    differs = {
        "align": {"train", "counter", "batch_size", "num_train_epochs", "lr_scheduler_type", "warmup_ratio"},
        "select": {"judge"},
        "generate": {"max_new_tokens"},
        "gates": set(),
    }
    for table, for_the_embedded_model in differs.items():
        one, other = (
            getattr(c, table).model_dump(exclude=for_the_embedded_model) for c in (loaded.config, bare.config)
        )
        assert one == other


def test_every_key_of_the_schema_is_described():
    tables = [Config, *(f.annotation for f in Config.model_fields.values() if hasattr(f.annotation, "model_fields"))]
    assert all(field.description for table in [*tables, DataPart] for field in table.model_fields.values())


def test_a_part_made_in_python_equals_the_part_of_a_file(written):
    config = load(Config, written(SMALL)).config
    assert DataPart(dataset=Cares(split="train"), share=0.15) == config.data.valid


def test_reading_a_config_loads_no_torch(written):
    code = (
        "import sys; from pathlib import Path; from bedside.config.loader import load;"
        "from bedside.config.schema import Config; load(Config, Path(sys.argv[1]));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(written(SMALL))], check=False).returncode == 0
