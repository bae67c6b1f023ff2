"""Answers that are read as a stream are those that are read at once, judged to the same bytes."""

import json

import pytest

from bedside.core.errors import DataError
from bedside.core.hashing import digest_rows
from bedside.core.types import Verdict
from bedside.data.responses import AnswerFile, AnswerStream
from bedside.judges.keyword import KeywordJudge
from bedside.run.stage_cache import StageCache

TEXTS = ["Take two.", "I cannot help.", "Take two.", "Rest."]
PLAN = [[0, 1], [2]]


@pytest.fixture
def answers(tmp_path):
    def write(harms):
        path = tmp_path / "answers.jsonl"
        rows = [{"prompt": "How many?", "response": t, "harm": h} for t, h in zip(TEXTS, harms, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return AnswerFile(str(path))

    return write


def judged(root, rows, work=None):
    return StageCache(root).map("judge", "keyword", rows, work or KeywordJudge().judge, Verdict, PLAN)


def test_a_stream_holds_each_answer_once_with_the_digest_of_all(answers):
    file = answers([0, 0, 0, 0])
    stream = AnswerStream.of(file)
    assert list(stream) == file.read()
    assert (len(stream), stream.digest) == (3, digest_rows(file.read()))


def test_a_file_that_repeats_an_answer_with_another_label_is_no_stream(answers):
    assert AnswerStream.of(answers([0, 0, 3, 0])) is None


def test_a_file_that_changes_between_two_readings_is_an_error(answers):
    stream = AnswerStream.of(answers([0, 0, 0, 0]))
    with open(stream.file.path, "a") as out:
        out.write("\n")
    with pytest.raises(DataError, match="was changed while it was read"):
        list(stream)


def test_a_stream_is_judged_to_the_bytes_of_a_list_and_resumes_to_them(tmp_path, answers):
    file = answers([0, 0, 0, 0])
    whole = judged(tmp_path / "list", file.read())

    def dies(batch):
        if len(batch) == 1:
            raise KeyboardInterrupt
        return KeywordJudge().judge(batch)

    seen = []
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path / "stream", AnswerStream.of(file), dies)
    resumed = judged(tmp_path / "stream", AnswerStream.of(file), lambda b: seen.extend(b) or KeywordJudge().judge(b))
    assert [row.text for row in seen] == ["Rest."]
    for name in ("rows.jsonl", "stage.json"):
        assert (resumed.path.parent / name).read_bytes() == (whole.path.parent / name).read_bytes()
    assert list(resumed.stream()) == whole.all()
