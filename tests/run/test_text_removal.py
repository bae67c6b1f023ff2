"""A text leaves a file of any known kind, and what else stands in the file stays as it was."""

import gzip
import json

import pytest

from bedside.run.text_removal import ERASED, contains, holds, normalised, without

TEXT = normalised("Zoé Bergmann")


@pytest.fixture
def left(tmp_path):
    """What a file with this name and content is without the text, and in how many places it was."""

    def of(name, content):
        file = tmp_path / name
        file.write_bytes(content.encode())
        remainder = without(file, TEXT)
        return remainder and (remainder.content, remainder.removed)

    return of


def test_a_text_is_found_in_any_case_form_and_spacing():
    assert contains({"a": ["I am ZOE\u0301\n  bergmann."]}, TEXT)
    assert contains({"zoé bergmann": 1}, TEXT)
    assert not contains({"a": ["Zoé", "Bergmann"], "b": 3}, TEXT)


def test_lines_that_hold_it_and_half_written_ones_leave(left):
    assert left("a.jsonl", '{"a":  "tea\u2028"}\r\n{"a": "Zo\\u00e9 Bergmann"}\n{"a": "Zo') == (
        '{"a":  "tea\u2028"}\r\n',
        2,
    )


def test_a_table_keeps_the_bytes_of_its_other_rows(left):
    other = '\ufeffid;note\r\n1;"tea\u2028\r\nor; coffee"\r\n'
    assert left("a.csv", other + '2;"I am\r\nzoé  bergmann"\r\n') == (other, 1)
    assert left("a.tsv", "a\tb\nI, Zoé Bergmann\ttea\nx\ty\n") == ("a\tb\nx\ty\n", 1)


def test_the_innermost_item_leaves_and_another_string_is_replaced(left):
    value = {
        "examples": [{"q": "Zoé Bergmann", "a": 1}, {"q": "tea"}],
        "title": "of Zoé Bergmann",
        "by": {"zoé bergmann": 1},
    }
    content, places = left("a.json", json.dumps(value))
    assert json.loads(content) == {"examples": [{"q": "tea"}], "title": ERASED, "by": {}}
    assert places == 3
    content, _ = left("b.json", json.dumps([{"name": "one", "rows": ["tea", "Zoé Bergmann"]}]))
    assert json.loads(content) == [{"name": "one", "rows": ["tea"]}]


def test_json_that_does_not_hold_it_keeps_its_bytes(left):
    assert left("a.json", '{"a":1}') == ('{"a":1}', 0)


def test_a_page_leaves_whole(left):
    assert left("a.html", "<p>Zo&eacute; Bergmann") == (None, 1)
    assert left("a.md", "tea") == ("tea", 0)


def test_another_kind_of_file_and_a_broken_one_are_searched_only(left, tmp_path):
    assert left("a.txt", "Zoé Bergmann") is None
    assert left("a.json", '{"a": "Zoé Bergmann') is None
    assert holds(tmp_path / "a.txt", TEXT)
    assert holds(tmp_path / "a.json", TEXT)


@pytest.mark.parametrize("data", ["Zoé\nBergmann".encode(), "Zoé Bergmann".encode("utf-16"), b"Zo\\u00e9\\nBergmann",
                                  b"Zo&#233; Bergmann", b"\xff\x00 Zo\xc3\xa9 Bergmann"])  # fmt: skip
def test_it_is_found_however_it_is_spelled_and_packed(data, tmp_path):
    for name, content in (("a.bin.txt", data), ("a.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        assert holds(tmp_path / name, TEXT)


def test_a_package_that_cannot_be_read_counts_as_holding_it(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"tea")[:-4])
    assert holds(tmp_path / "a.gz", TEXT)
