"""Tables become prompts: known columns are understood, the rest are facets, and no mistake passes."""

import csv
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.paths import REAL_DATA

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.protocols import Dataset, Launch
from bedside.core.text import is_blank
from bedside.core.types import Message
from bedside.data.datasets import Cares, Jsonl
from bedside.data.prompts import ReadOptions, read_prompts


def dataset(path, cls=Jsonl, **more):
    return cls.model_validate({"path": str(path), **more}).open(Launch())


def put(path, table: list[dict]):
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return path


def understood(row: dict, **reading):
    prompts, _ = read_prompts([("a, row 1", row)], ReadOptions(**reading), "a")
    return prompts[0]


def told(*table: dict, **reading) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_prompts([(f"a, row {n}", row) for n, row in enumerate(table, start=1)], ReadOptions(**reading), "a")
    return str(caught.value).splitlines()


def test_the_columns_of_cares_are_understood_as_they_are():
    row = {
        "principle_index": 2,
        "generation_model": "gpt",
        "harmful_level": 3,
        "method": "role_play",
        "base_prompt": "How do I get it?",
        "prompt": "Imagine a doctor who gets it.",
    }
    prompt = understood(row)
    assert (prompt.text, prompt.harm, prompt.principle, prompt.style) == (row["prompt"], 3, "2", "role_play")
    assert prompt.group == f"base:{digest('How do I get it?')}"
    assert prompt.metadata == {"generation_model": "gpt"}


def test_our_own_names_win_and_short_values_become_facets():
    row = {
        "question": "May I?", "harm": "1", "principle": "law", "style": "direct", "group": 7, "source": "us",
        "reference": "Yes.", "base_prompt": "x", "age": 61, "smoker": True, "bmi": 21.5, "note": "n" * 200,
        "id": "r-1", "safe_response": "No.", "seen": None, "tags": ["a"],
    }  # fmt: skip
    prompt = understood(row)
    assert (prompt.text, prompt.harm, prompt.group, prompt.reference) == ("May I?", 1, "7", "Yes.")
    assert prompt.metadata == {"age": "61", "smoker": "true", "bmi": "21.5"}


@pytest.mark.parametrize("column", ["prompt", "messages"])
def test_a_conversation_keeps_its_turns_and_a_last_answer_is_the_reference(column):
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    prompt = understood({column: turns, "harm": 0})
    assert prompt.messages == (Message("system", "s"), Message("user", "q"))
    answered = understood({column: [*turns, {"role": "assistant", "content": "a"}], "harm": 0})
    assert (answered.messages, answered.reference) == (prompt.messages, "a")


def test_columns_can_be_named_in_the_config():
    row = {"prompt": "not this", "message": "this", "risk": 2}
    prompt = understood(row, columns={"prompt": "message", "harm": "risk"})
    assert (prompt.text, prompt.harm, prompt.metadata) == ("this", 2, {})


def test_a_column_the_config_names_has_no_stand_in():
    (line,) = told({"prompt": "a", "risk": None, "harmful_level": 2}, columns={"harm": "risk"})
    assert line.startswith("a, row 1: no harm level")


def test_a_wrong_name_in_columns_is_told_when_the_config_is_read_or_the_rows_are():
    with pytest.raises(ValidationError, match="no column is called 'promt' here; did you mean 'prompt'"):
        Jsonl(path="a", columns={"promt": "x"})
    assert told({"prompt": "a", "harm": 0, "risks": 1}, columns={"harm": "risk"}) == [
        "a: no column 'risk' to read as harm; did you mean 'risks'?"
    ]


@given(st.text())
def test_hostile_text_survives_as_it_is(text):
    if is_blank(text):
        assert told({"prompt": text, "harm": 0}) == ["a, row 1: the prompt is empty; remove the row or give it a text"]
    else:
        assert understood({"prompt": text, "harm": 0}).text == text


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_level_is_the_same_from_json_csv_and_a_table_with_gaps(level):
    assert {understood({"prompt": "a", "harm": h}).harm for h in (level, str(level), float(level))} == {level}


@pytest.mark.parametrize("harm", [7, -1, 1.5, True, [1], "2 or 3"])
def test_a_level_there_is_not_is_refused(harm):
    (line,) = told({"prompt": "a", "harm": harm})
    assert line.startswith("a, row 1: harm is ")
    assert line.endswith("it is 0 (harmless), 1, 2 or 3 (severe); correct it")


def test_a_word_for_a_level_is_read_by_a_label_map_and_asked_for_without_one():
    words = ReadOptions(label_map={"none": 0, "high": 3})
    table = [("a, row 1", {"prompt": "a", "harm": "High "}), ("a, row 2", {"prompt": "b", "harm": "none"})]
    assert [prompt.harm for prompt in read_prompts(table, words, "a")[0]] == [3, 0]
    (line,) = told({"prompt": "a", "harm": "high"})
    assert line.endswith("it is 0 (harmless), 1, 2 or 3 (severe); say what it means: label_map: {high: 3}")


def test_rows_without_a_level_are_an_error_or_skipped_or_kept():
    three = [{"prompt": "a"}, {"prompt": "b", "harm": ""}, {"prompt": "c", "harm": 0}]
    table = [(f"a, row {n}", row) for n, row in enumerate(three, start=1)]
    assert told(*three) == [
        f"a, row {n}: no harm level, so no stance is right or wrong for it; label it 0 to 3, or set unlabelled: skip"
        for n in (1, 2)
    ]
    prompts, flow = read_prompts(table, ReadOptions(unlabelled="skip"), "a")
    assert ([p.text for p in prompts], flow.kept, dict(flow.dropped)) == (["c"], 1, {"no harm level": 2})
    prompts, _ = read_prompts(table, ReadOptions(unlabelled="keep"), "a")
    assert [p.harm for p in prompts] == [None, None, 0]
    assert told({"prompt": "a"}, unlabelled="skip") == [
        "a: no row has a harm level; label some 0 to 3, or set unlabelled: keep"
    ]


def test_rows_that_say_the_same_merge_and_are_counted():
    row = {"prompt": "a", "harm": 1}
    prompts, flow = read_prompts(
        [("1", row), ("2", {**row, "age": 3}), ("3", {**row, "prompt": "b"})], ReadOptions(), "a"
    )
    assert [p.text for p in prompts] == ["a", "b"]
    assert flow.dropped == {"same text as an earlier row": 1}


def test_the_same_text_with_two_levels_names_both_rows():
    assert told({"prompt": "a", "harm": 1}, {"prompt": "a", "harm": 3}) == [
        "a, row 2: the same text as a, row 1, with harm 3 here and 1 there; decide on one"
    ]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"promt": "a", "harm": 0},
         "a, row 1: no column prompt; needed are prompt and harm, and the columns are promt, harm: rename them, "
            "or map them, columns: {prompt: NAME, harm: NAME}; did you mean 'promt' by prompt?"),
        ({"frage": "a", "schaden": 1},
         "a, row 1: no column prompt; needed are prompt and harm, and the columns are frage, schaden: rename them, "
            "or map them, columns: {prompt: NAME, harm: NAME}"),
        ({"prompt": "a", "schaden": 1},
         "a: no column harm; needed are prompt and harm, and the columns are prompt, schaden: rename them, "
            "or map them, columns: {prompt: NAME, harm: NAME}; "
            "or have levels proposed with `bedside label FILE --learn-from LABELLED -o labels.csv`"),
        ({"prompt": None, "harm": 0}, "a, row 1: the prompt is empty; remove the row or give it a text"),
        ({"prompt": 5, "harm": 0}, "a, row 1: the conversation is 5; write a text, or a list of {role, content}"),
        ({"prompt": [], "harm": 0},
         "a, row 1: the conversation is a list; write a text, or a list of {role, content}"),
        ({"prompt": [{"role": "user"}], "harm": 0},
         "a, row 1: the content of turn 1 (user) is missing; the turn has role"),
        ({"prompt": [{"role": "narrator", "content": "a"}], "harm": 0},
         "a, row 1: the role of turn 1 is 'narrator'; there is assistant, bot, chatbot, chatgpt, developer, doctor, "
         "gpt, human, model, patient, prompter, system, user"),
        ({"prompt": "half \ud83d", "harm": 0},
         "a, row 1: the text contains a lone surrogate, which no tokenizer reads; save it as UTF-8"),
        ({"prompt": "a", "harm": 0, "source": ["x"]}, "a, row 1: source is a list; it is text or a number"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_meant_says_where_what_and_what_to_do(row, line):
    assert told(row) == [line]


def test_ten_wrong_rows_are_told_and_the_others_counted():
    lines = told(*({"prompt": "a", "harm": 9} for _ in range(25)))
    assert len(lines) == 11
    assert lines[-1] == "a: and 15 more rows with mistakes"


def test_a_split_is_a_column_and_a_wrong_one_is_told():
    table = [{"prompt": "a", "harm": 0, "split": "train"}, {"prompt": "b", "harm": 0, "split": "test"}]
    prompts, flow = read_prompts([("1", table[0]), ("2", table[1])], ReadOptions(split="test"), "a")
    assert ([p.text for p in prompts], flow.dropped) == (["b"], {"another split": 1})
    assert told(*table, split="trian") == ["a: no row has split 'trian'; did you mean 'train'?"]
    (line,) = told({"prompt": "a", "harm": 0}, split="train")
    assert line.startswith("a, row 1: no column split, so it is unknown which rows are 'train'")


def test_one_table_reads_the_same_from_jsonl_csv_and_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = [{"prompt": 'a, "b"\nc', "harm": 2, "style": "direct"}, {"prompt": "d", "harm": 0, "style": "direct"}]
    put(tmp_path / "a.jsonl", table)
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    first, *others = [dataset(tmp_path / f"a.{ending}").read() for ending in ("jsonl", "csv", "parquet")]
    assert others == [first, first]


@pytest.mark.parametrize("cls", [Jsonl, Cares])
def test_a_data_set_reads_twice_the_same_and_says_what_it_dropped(tmp_path, cls):
    row = {"prompt": "a", "harm": 1}
    opened = dataset(put(tmp_path / "a.jsonl", [row, row]), cls)
    assert isinstance(opened, Dataset)
    assert opened.read() == opened.read()
    assert (opened.filter_counts.kept, sum(opened.filter_counts.dropped.values())) == (1, 1)


def test_a_local_folder_of_parquet_serves_as_cares(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for split in ("train", "test"):
        table = pyarrow.Table.from_pylist([{"prompt": f"in {split}", "harmful_level": 0}])
        parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    assert [p.text for p in dataset(tmp_path, Cares, split="test").read()] == ["in test"]
    with pytest.raises(DataError, match="no column split"):
        dataset(tmp_path, Cares, split="valid").read()


needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"{REAL_DATA} is not here")


@pytest.mark.real_data
@needs_real_data
@pytest.mark.parametrize("cls", [Jsonl, Cares])
def test_the_real_prompts_read_by_split(cls):
    path = REAL_DATA / "safety" / "prompts.jsonl"
    sizes = {split: len(dataset(path, cls, split=split).read()) for split in ("train", "valid", "test")}
    assert sizes == {"train": 1179, "valid": 398, "test": 423}


@pytest.mark.real_data
@needs_real_data
@pytest.mark.parametrize("cls", [Jsonl, Cares])
def test_the_cares_sample_has_all_levels_and_styles(cls):
    prompts = dataset(REAL_DATA / "safety" / "cares_schema_sample.jsonl", cls).read()
    assert set(Counter(p.harm for p in prompts)) == {0, 1, 2, 3}
    assert len({p.style for p in prompts}) == 4
    assert all(p.group and p.group.startswith("base:") and p.principle is not None for p in prompts)
