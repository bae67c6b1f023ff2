"""``data.path``: one file for all parts."""

import pytest

import bedside
from bedside.core.errors import ConfigError
from bedside.data import io


def load(text, *sets, tmp_path):
    (tmp_path / "b.yaml").write_text("target: embedded\ndata:\n" + text)
    return bedside.resolve(tmp_path / "b.yaml", sets)


def test_keys_beside_the_parts_are_those_of_each_part(tmp_path):
    text = "  path: p.csv\n  columns: {prompt: message}\n  test: {share: 0.3}\n"
    loaded = load(text, "data.train.limit=9", tmp_path=tmp_path)
    parts = {name: getattr(loaded.config.data, name) for name in ("train", "valid", "test")}
    assert {name: part.share for name, part in parts.items()} == {"train": None, "valid": 0.2, "test": 0.3}
    assert all(part.dataset.path == "p.csv" for part in parts.values())
    assert all(part.dataset.columns == {"prompt": "message"} for part in parts.values())
    assert parts["train"].limit == 9
    assert loaded.origins["data.valid.path"] == "b.yaml:3"
    assert loaded.origins["data.valid.columns.prompt"] == "b.yaml:4"


def test_it_is_what_the_three_parts_written_out_are(tmp_path):
    short = load("  path: p.csv\n  phi: scrub\n", tmp_path=tmp_path).config
    part = "kind: jsonl, path: p.csv, phi: scrub"
    lines = f"  train: {{{part}}}\n  valid: {{{part}, share: 0.2}}\n  test: {{{part}, share: 0.4}}\n"
    assert short == load(lines, tmp_path=tmp_path).config


def test_a_part_of_its_own_takes_nothing_and_a_named_split_is_whole(tmp_path):
    text = "  path: p.csv\n  columns: {prompt: m}\n  test: {path: t.csv, kind: jsonl}\n  valid: {split: dev}\n"
    data = load(text, tmp_path=tmp_path).config.data
    assert (data.test.dataset.path, data.test.dataset.columns, data.test.share) == ("t.csv", {}, None)
    assert (data.valid.dataset.path, data.valid.dataset.split, data.valid.share) == ("p.csv", "dev", None)


@pytest.mark.parametrize(
    ("text", "sets", "said"),
    [
        (
            "  path: p.csv\n  colums: {}\n",
            (),
            "b.yaml: data.colums: kind 'jsonl' has no such key; did you mean",
        ),
        ("  path: p.csv\n  columns: {promt: m}\n", (), "b.yaml: data.columns: no column is called 'promt' here"),
        ("  path: p.csv\n", ("data.unlabelled=ask",), "--set: data.unlabelled: is 'ask'"),
    ],
)
def test_a_mistake_is_named_once_and_where_it_was_written(text, sets, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(text, *sets, tmp_path=tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(said)


def test_a_path_that_no_part_would_read_is_an_error(tmp_path):
    part = "{kind: jsonl, path: p.jsonl}"
    with pytest.raises(ConfigError, match=r"--set: data\.path: train, valid and test each name a source of their own"):
        load(f"  train: {part}\n  valid: {part}\n  test: {part}\n", "data.path=q.jsonl", tmp_path=tmp_path)


def test_the_parts_of_one_file_share_no_group(tmp_path, monkeypatch):
    from bedside.alignment import preflight

    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    rows = [{"prompt": f"{a} {b}?", "harm": i % 4, "group": a} for a in words for i, b in enumerate(words)]
    io.write_jsonl(tmp_path / "p.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    parts = preflight.read_data(load("  path: p.jsonl\n", tmp_path=tmp_path).config).parts
    groups = [{prompt.group for prompt in rows} for rows in parts.named.values()]
    assert [len(some) for some in groups] == [4, 2, 4]
    assert len(set.union(*groups)) == 10
