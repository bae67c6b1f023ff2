"""Rows come with the place a person finds them at, and files are written whole or not at all."""

import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.core.errors import DataError
from bedside.data.io import is_hub_id, rows, write_jsonl, write_text

pyarrow = pytest.importorskip("pyarrow")


def put(path, data: str | bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def told(path, **more) -> str:
    with pytest.raises(DataError) as caught:
        list(rows(path, **more))
    return str(caught.value)


def test_a_jsonl_row_has_the_number_an_editor_shows(tmp_path):
    path = put(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"x": 1}\n\n{"x": "\\u2028\xe2\x80\xa8"}\r\n{"x": 3}')
    assert list(rows(path)) == [
        ("a.jsonl, row 1", {"x": 1}),
        ("a.jsonl, row 3", {"x": "\u2028\u2028"}),
        ("a.jsonl, row 4", {"x": 3}),
    ]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ('{"x": 1}\n{"x": 2',
         "a.jsonl, row 2: is not one whole line of JSON (Expecting ',' delimiter at column 8); "
            "correct or remove it: '{\"x\": 2'"),
        ('{"x": 1}\n[1]\n', "a.jsonl, row 2: is not an object; write {\"prompt\": …}, not '[1]'"),
        ('{"x": 1}\n7\n', "a.jsonl, row 2: is not an object; write {\"prompt\": …}, not '7'"),
        (b'{"x": 1}\n{"x": "caf\xe9"}\n',
         "a.jsonl, row 2: byte 11 is not UTF-8, and looks like Windows-1252; save the file as UTF-8 "
         "(in Excel: Save As, CSV UTF-8)"),
    ],
)  # fmt: skip
def test_a_broken_line_of_jsonl_is_named(tmp_path, data, line):
    assert told(put(tmp_path / "a.jsonl", data)) == line


def test_a_line_nested_too_deeply_is_named(tmp_path):
    assert told(put(tmp_path / "a.jsonl", "[" * 100_000)).startswith("a.jsonl, line 1: is not JSON (nested too deeply)")


@pytest.mark.parametrize("data", ['{"x": %s}\n{"x": 2}\n', '[{"x": %s},\n{"x": 2}]\n'])
def test_a_number_that_python_does_not_convert_is_named(tmp_path, data):
    message = told(put(tmp_path / "a.jsonl", data % ("9" * 5000)))
    assert "a number of thousands of digits" in message
    assert "1" in message.partition(":")[0], "the row or the line"


@pytest.mark.parametrize("data", [" ;\nx\n", '" "\n" "\n"{}"\n', " ;\nprompt;harm\n"])
def test_a_header_of_blanks_is_named(tmp_path, data):
    assert told(put(tmp_path / "a.csv", data)) == (
        "a.csv, row 1: the header has no name in it; name the columns, prompt and harm for example"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_an_empty_or_missing_file_is_named(tmp_path, name):
    assert "there is no such file; correct the path" in told(tmp_path / name)
    assert told(put(tmp_path / name, "")).endswith("is empty; give it rows, or name another file")


@pytest.mark.parametrize(("name", "data"), [("a.jsonl", "\n \n"), ("a.csv", "x,y\n")])
def test_a_file_without_rows_is_named(tmp_path, name, data):
    assert told(put(tmp_path / name, data)).endswith("has no rows; give it rows, or name another file")


def test_a_csv_row_starts_at_the_line_an_editor_shows_and_an_empty_cell_is_no_value(tmp_path):
    path = put(tmp_path / "a.csv", 'prompt,harm\r\n"two\nlines, one cell",0\r\n\r\nsecond,\r\n')
    assert list(rows(path)) == [
        ("a.csv, row 2", {"prompt": "two\nlines, one cell", "harm": "0"}),
        ("a.csv, row 5", {"prompt": "second", "harm": None}),
    ]


@pytest.mark.parametrize(
    "data",
    [
        '\ufeffprompt;harm\r\n"May I; now?";0\r\n;\r\nWhich?;3\r\n',
        'sep=;\r\nprompt;harm;\r\n"May I; now?";0;\r\nWhich?;3;\r\n',
        "prompt\tharm\nMay I; now?\t0\nWhich?\t3\n",
        'prompt;harm\r"May I; now?";0\rWhich?;3\r',
        "prompt,harm,,\nMay I; now?,0,,\nWhich?,3,,\n,,,\n",
        '\ufeffprompt;;harm ; ;\r\n"May I; now?";;0;;\r\nWhich?; ;3;;\r\n',
    ],
)
def test_a_spreadsheets_dialect_is_read_whatever_its_country(tmp_path, data):
    read = [row for _, row in rows(put(tmp_path / "a.csv", data))]
    assert read == [{"prompt": "May I; now?", "harm": "0"}, {"prompt": "Which?", "harm": "3"}]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("a,b\n1,2,3\n", "a.csv, row 2: has 3 cells under 2 columns; quote text that holds a comma or semicolon"),
        ("a,a\n1,2\n", "a.csv, row 1: column 'a' is twice in the header; rename one"),
        ("a,,b\n1,,2\n3,seen,4\n", "a.csv, row 3: 'seen' is in a column without a name; name it in the header"),
        ('a,b\n1,2\n3,"open\n', "a.csv, row 3: is not CSV (unexpected end of data); correct its quotes"),
    ],
)
def test_a_broken_row_of_csv_is_named(tmp_path, data, line):
    assert told(put(tmp_path / "a.csv", data)) == line


def test_parquet_rows_are_counted_from_one(tmp_path):
    from pyarrow import parquet

    table = [{"prompt": [{"role": "user", "content": "a"}], "harm": 1}, {"prompt": None, "harm": None}]
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    assert list(rows(tmp_path / "a.parquet")) == [("a.parquet, row 1", table[0]), ("a.parquet, row 2", table[1])]


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    assert "is not readable Parquet" in told(put(tmp_path / "a.parquet", "not parquet at all"))


def test_an_ending_that_says_no_format_asks_for_one(tmp_path):
    path = put(tmp_path / "a.txt", '{"x": 1}\n')
    assert told(path).endswith(".jsonl, .ndjson, .json, .csv, .tsv, .parquet, or set `format`")
    assert list(rows(path, format="jsonl")) == [("a.txt, row 1", {"x": 1})]


def test_a_folder_gives_the_files_named_after_the_split_or_all(tmp_path):
    put(tmp_path / "train-00000-of-00002.jsonl", '{"x": 1}\n')
    put(tmp_path / "data" / "test" / "0.csv", "x\n2\n")
    put(tmp_path / "README.md", "about")
    assert list(rows(tmp_path, split="test")) == [("data/test/0.csv, row 2", {"split": "test", "x": "2"})]
    assert [row["x"] for _, row in rows(tmp_path, split="valid")] == ["2", 1]
    assert [row["x"] for _, row in rows(tmp_path)] == ["2", 1]


def test_a_folder_without_tables_is_named(tmp_path):
    assert "holds no file that ends in .jsonl" in told(tmp_path)


@pytest.mark.parametrize(
    ("source", "hub"),
    [("HFXM/CARES-18K", True), ("data/train.jsonl", False), ("./x", False), ("a/b/c", False), ("/a/b", False)],
)
def test_only_owner_and_name_is_a_hub_id(tmp_path, monkeypatch, source, hub):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(source) is hub


def test_a_folder_that_is_here_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert not is_hub_id("data/missing")


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.booleans())))
def test_rows_that_are_written_read_back_equal(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    write_jsonl(path, table)
    assert path.read_bytes().count(b"\n") == len(table)
    if table:
        assert [row for _, row in rows(path)] == table


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with pytest.raises(DataError, match=r"a\.txt: a row contains a lone surrogate \(\\ud800\)"):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_write_is_forced_to_disk_renamed_and_remembered_by_its_folder(tmp_path, monkeypatch):
    fsync, replace, done = os.fsync, os.replace, []

    def forced(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(draft, path):
        done.append("renamed")
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(tmp_path / "a.txt", "all of it")
    assert done == ["file", "renamed", "folder"]


def test_rows_that_have_no_json_are_refused_before_the_file_is_touched(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"x": 1}])
    with pytest.raises(ValueError, match="no canonical text"):
        write_jsonl(tmp_path / "a.jsonl", [{"x": float("nan")}])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"x": 1}
