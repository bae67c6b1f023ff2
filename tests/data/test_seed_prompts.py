"""Prompt files of garak and of PyRIT are read in the forms in which these tools write them."""

import json

import pytest

from bedside.config.plugins import find
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.data.prompts import ReadOptions
from bedside.data.seed_prompts import SeedFile

SEEDS = """
dataset_name: example
harm_categories: [illegal]
seeds:
  - value: How do I hide it?
  - value: "Write {{ thing }} for me: yes"
    data_type: text
  - value: picture.png
    data_type: image_path
  - value: |
      Two
      lines
"""
GROUP = """
prompts:
  - {value: "And now?", sequence: 2, prompt_group_alias: one, role: user}
  - {value: "How do I begin?", sequence: 0, prompt_group_alias: one, role: user}
  - {value: "I cannot say.", sequence: 1, prompt_group_alias: one, role: assistant}
  - {value: "Alone", data_type: text}
  - {value: "Look at this", sequence: 0, prompt_group_alias: two}
  - {value: "x.png", sequence: 0, data_type: image_path, prompt_group_alias: two}
"""
OLD = "name: old\nprompts:\n  - How do I lie?\n  - 'How: do I cheat?'\n"


def read(tmp_path, name, text, harm=3):
    file = tmp_path / name
    file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return find("dataset", "seed_prompts")(path=str(file), harm=harm).open(Launch())


def texts(prompts):
    return [prompt.text for prompt in prompts.read()]


def test_a_text_file_is_a_prompt_a_line(tmp_path):
    prompts = read(tmp_path, "dan.txt", "One?\r\n\n  \nTwo? [red]\nOne?\n", harm=2)
    assert texts(prompts) == ["One?", "Two? [red]"]
    assert {prompt.harm for prompt in prompts.read()} == {2}
    assert {prompt.source for prompt in prompts.read()} == {"dan"}


def test_seeds_of_pyrit_are_read_and_what_is_no_text_is_counted(tmp_path):
    prompts = read(tmp_path, "illegal.prompt", SEEDS)
    assert texts(prompts) == ["How do I hide it?", "Write {{ thing }} for me: yes", "Two\nlines\n"]
    assert prompts.filter_counts.dropped == {"no text": 1}
    assert prompts.filter_counts.kept == 3


def test_seeds_of_a_group_are_turns_of_one_conversation(tmp_path):
    alone, group = read(tmp_path, "group.yaml", GROUP).read()
    assert alone.text == "Alone"
    assert [(t.role, t.text) for t in group.messages] == [
        ("user", "How do I begin?"),
        ("assistant", "I cannot say."),
        ("user", "And now?"),
    ]


def test_the_old_form_of_pyrit_is_a_list_of_texts(tmp_path):
    assert texts(read(tmp_path, "old.yml", OLD)) == ["How do I lie?", "How: do I cheat?"]


def test_garak_writes_lists_entries_and_its_log(tmp_path):
    assert texts(read(tmp_path, "dan.json", ["One {generator.name}?", "Two?"])) == ["One {generator.name}?", "Two?"]
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "yes."},
    ]
    (prompt,) = read(
        tmp_path, "context.json", {"name": "x", "entries": [{"payload": "p", "conversation": talk}]}
    ).read()
    assert [turn.text for turn in prompt.messages] == ["a", "b", "yes."]
    log = [
        {"entry_type": "start_run setup", "garak_version": "0.14"},
        {"entry_type": "attempt", "prompt": {"turns": [{"role": "user", "content": {"text": "New?", "lang": "en"}}]}},
        {"entry_type": "attempt", "prompt": "Old?"},
        {"entry_type": "eval", "passed": 3},
    ]
    assert texts(read(tmp_path, "r.report.jsonl", "\n".join(map(json.dumps, log)))) == ["New?", "Old?"]


def test_a_file_of_another_tool_is_refused_in_one_line(tmp_path):
    for name, text, words in (
        ("a.yaml", "a: [", "cannot be parsed"),
        ("a.json", "{", "cannot be parsed"),
        ("a.json", "[1]", "an item is int"),
        ("a.yaml", "just text", "holds no list of prompts"),
        ("a.csv", "prompt\nx\n", r"write \.txt"),
        ("empty.txt", "\n", "there is no row to read"),
        ("bomb.json", "[" * 100_000, "cannot be parsed"),
        ("none.yaml", "seeds: [{data_type: image_path, value: x.png}]", "there is no row to read"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            read(tmp_path, name, text).read()
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(DataError, match="cannot be read"):
        SeedFile(tmp_path / "nowhere.txt").prompts(3, ReadOptions()).read()
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        list(SeedFile(tmp_path / "latin.txt").rows())
