"""Files as people have them: chat exports, pandas tables, annotation tools. Each is read, or one line says why not."""

import gzip
import json
import math

import pytest

import bedside
from bedside.config.plugins import find
from bedside.core.errors import DataError
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.types import Message, Verdict
from bedside.data import annotations, trl_format
from bedside.data.io import rows, write_rows
from bedside.data.responses import AnswerFile, answer_rows, check_replaceable, read_judged, read_rows
from bedside.data.turns import read_turns

ASKED, ANSWERED = "How much is safe?", "Two a day."
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
CALL, TOOL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "6"}
HUMAN = f"\n\nHuman: {ASKED}\n\nAssistant: "


def jsonl(folder, *table):
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def data_set(path, kind="jsonl", **keys):
    return find("dataset", kind)(path=str(path), **keys).open(Launch()).read()


def trained(path, reads):
    return trl_format.read(rows(path), reads)


def labels(path, label="label", **keys):
    """Stance by rater of every answer of the file."""
    judge = find("judge", "labels")(path=str(path), label=label, **keys).open(Launch())
    return [dict(verdict.votes) for verdict in judge.judge(judge.config.answers.read())]


# turns


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, CALL], "belongs to a tool"),
        ([USER, {"role": "assistant", "content": None}], "the content of turn 2 (assistant) is null"),
        ([USER, {"role": "assistant"}], "the content of turn 2 (assistant) is missing"),
    ],
)
def test_a_training_row_without_an_answer_is_refused_by_row(tmp_path, messages, reason):
    with pytest.raises(DataError, match=r"a\.jsonl, row 2: ") as refused:
        trained(jsonl(tmp_path, {"messages": [USER, ASSISTANT]}, {"messages": messages}), "demonstrations")
    assert reason in str(refused.value)


@pytest.mark.parametrize("side", ["prompt", "chosen", "rejected"])
def test_null_in_a_training_column_is_refused(tmp_path, side):
    row = {"prompt": ASKED, "chosen": "a", "rejected": "b"} | {side: None}
    reason = "null" if side != "prompt" else "no conversation"
    with pytest.raises(DataError, match=reason):
        trained(jsonl(tmp_path, row), "pairs")


def test_content_in_parts_is_joined_by_every_reader(tmp_path):
    parts = [{"role": t["role"], "content": [{"type": "text", "text": t["content"]}]} for t in (USER, ASSISTANT)]
    path = jsonl(tmp_path, {"messages": parts, "harm": 0})
    (row,) = trained(path, "demonstrations")
    (prompt,) = data_set(path)
    (dialogue,) = data_set(path, "dialogues")
    assert [row.answer, prompt.reference, dialogue.reference] == [ANSWERED] * 3
    assert [row.prompt.text, prompt.text, dialogue.text] == [ASKED] * 3


@pytest.mark.parametrize("label", [True, 1, 1.0, "true", "TRUE", "1", "1.0", "yes"])
def test_a_label_of_kto_is_the_same_from_json_csv_and_pandas(tmp_path, label):
    path = jsonl(tmp_path, {"prompt": ASKED, "completion": ANSWERED, "label": label})
    assert [row.label for row in trained(path, "unpaired")] == [True]
    with pytest.raises(DataError, match="label is 'good'; it is true or false, 1 or 0, yes or no"):
        trained(jsonl(tmp_path, {"prompt": ASKED, "completion": ANSWERED, "label": "good"}), "unpaired")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASKED, "chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "No."}]},
        {"chosen": HUMAN + ANSWERED, "rejected": HUMAN + "No."},
        {"chosen": (HUMAN + ANSWERED).strip(), "rejected": (HUMAN + "No.").strip()},
        {"prompt": HUMAN.rstrip(" "), "chosen": ANSWERED, "rejected": "No."},
        {"prompt": None, "chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "No."}]},
    ],
    ids=["ultrafeedback", "transcript", "transcript without lines", "transcript of the prompt", "no prompt"],
)
def test_pairs_of_public_data_sets_are_read(tmp_path, row):
    (pair,) = trained(jsonl(tmp_path, row), "pairs")
    assert (pair.prompt.messages, pair.chosen, pair.rejected) == ((Message("user", ASKED),), ANSWERED, "No.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Another?", "chosen": [USER, ASSISTANT], "rejected": "b"}, "or the prompt and that turn"),
        ({"chosen": "Two.", "rejected": "No."}, "no conversation that ends with an answer"),
        ({"chosen": HUMAN + "a", "rejected": HUMAN.replace("safe", "deadly") + "b"}, "do not answer the same"),
    ],
)
def test_a_pair_that_answers_nothing_known_is_refused(tmp_path, row, reason):
    with pytest.raises(DataError, match=reason):
        trained(jsonl(tmp_path, row), "pairs")


@pytest.mark.parametrize("text", [json.dumps, repr])
def test_a_conversation_that_a_csv_cell_holds_is_read(tmp_path, text):
    cell = text([USER, ASSISTANT, USER]).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'messages,harm\n"{cell}",0\n')
    (prompt,) = data_set(tmp_path / "a.csv")
    assert [turn.role for turn in prompt.messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
        {"instruction": ASKED, "input": "", "output": ANSWERED},
        {"question": ASKED, "answer": ANSWERED},
        {"messages": [USER, CALL, TOOL, ASSISTANT]},
    ],
    ids=["sharegpt", "alpaca", "question", "tool"],
)  # fmt: skip
def test_dialogues_of_public_data_sets_are_read(tmp_path, row):
    (dialogue,) = data_set(jsonl(tmp_path, row), "dialogues")
    assert (dialogue.text, dialogue.reference) == (ASKED, ANSWERED)


def test_dialogues_map_columns_and_name_one_that_is_not_there(tmp_path):
    path = jsonl(tmp_path, {"Description": "d", "Patient": ASKED, "Doctor": ANSWERED, "input": "x", "answer": "y z"})
    (dialogue,) = data_set(path, "dialogues", columns={"question": "Patient", "answer": "Doctor"})
    assert (dialogue.text, dialogue.reference) == (ASKED, ANSWERED)
    with pytest.raises(DataError, match="no column 'Patent' to read as question; did you mean 'Patient'"):
        data_set(path, "dialogues", columns={"question": "Patent"})
    with pytest.raises(DataError, match=r"or map yours, columns: \{question: NAME, answer: NAME\}"):
        data_set(jsonl(tmp_path, {"Patient": ASKED}), "dialogues")


def test_a_dialogue_that_ends_with_a_tool_or_says_null_is_counted(tmp_path):
    silent = [USER, {"role": "assistant", "content": None}]
    tool = [USER | {"content": "And then?"}, CALL]
    table = [{"messages": [USER | {"content": "Why?"}, ASSISTANT]}, {"messages": silent}, {"messages": tool}]
    opened = find("dataset", "dialogues")(path=str(jsonl(tmp_path, *table))).open(Launch())
    assert len(opened.read()) == 1
    assert opened.filter_counts.dropped == {"no answer": 2}


def test_developer_is_system(tmp_path):
    path = jsonl(tmp_path, {"messages": [{"role": "developer", "content": "Be brief."}, USER], "harm": 0})
    assert [turn.role for turn in data_set(path)[0].messages] == ["system", "user"]


def test_a_log_of_messages_is_answers(tmp_path):
    (answer,) = AnswerFile(str(jsonl(tmp_path, {"messages": [USER, ASSISTANT], "harm": 3}))).read()
    assert (answer.prompt.text, answer.text, answer.prompt.harm) == (ASKED, ANSWERED, 3)
    assert answer.prompt.reference is None, "a judge must not see the answer as a reference"


# cells


def test_one_json_array_is_rows_and_a_broken_one_is_named_by_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"prompt": "a", "harm": 0}, {"prompt": "b", "harm": 3}], indent=1))
    assert [where for where, _ in rows(path)] == ["a.json, item 1", "a.json, item 2"]
    path.write_text('[{"prompt": "a", "harm": 0}, {"prompt": "b", "harm": 3}]')
    assert len(data_set(path)) == 2
    path.write_text('[\n{"prompt": "a"},\n{"prompt": \n]')
    with pytest.raises(DataError, match=r"a\.json, line 4: is not JSON"):
        list(rows(path))
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match=r"a\.json, item 1: is not an object"):
        list(rows(path))


def test_what_nobody_gave_is_missing_and_three_point_zero_is_three(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "a", "harm": NaN, "group": 1.0}\n{"prompt": "b", "harm": 3.0, "group": 2.0, "reference": NaN}\n'
    )
    (prompt,) = data_set(path, unlabelled="skip")
    assert (prompt.harm, prompt.group, prompt.reference) == (3, "2", None)
    (tmp_path / "a.csv").write_text("prompt,harm,group,dose\na,3.0,7.0,2.0\nb,,nan,1\nc,nan,8,1\n")
    assert [(p.harm, p.group) for p in data_set(tmp_path / "a.csv", unlabelled="skip")] == [(3, "7")]


def test_labels_with_gaps_are_read_from_json_and_csv(tmp_path):
    meaning = {"1": "accept", "0": "not_accept"}
    (tmp_path / "a.csv").write_text("prompt,response,human\na,Yes.,1.0\nb,Yes.,0.0\nc,Yes.,\nd,Yes.,nan\n")
    assert labels(tmp_path / "a.csv", "human", label_map=meaning) == [{"1": "accept"}, {"1": "refuse"}, {}, {}]
    answers = [{"prompt": name, "response": "Yes.", "human": human} for name, human in (("a", math.nan), ("b", 1.0))]
    jsonl(tmp_path, *answers)
    assert labels(tmp_path / "a.jsonl", "human", label_map=meaning) == [{}, {"1": "accept"}]


def test_a_long_cell_a_packed_file_and_tabs_are_read(tmp_path):
    long = "x" * 200_000
    (tmp_path / "a.csv").write_text(f'prompt,harm\n"{long}",0\n')
    assert data_set(tmp_path / "a.csv", "csv")[0].text == long
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"prompt": "a", "harm": 0}\n')
    assert data_set(tmp_path / "a.jsonl.gz")[0].text == "a"
    (tmp_path / "a.tsv").write_text("prompt\tharm\na, b\t0\n")
    assert data_set(tmp_path / "a.tsv")[0].text == "a, b"
    (tmp_path / "b.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(DataError, match="is not a whole gzip file"):
        list(rows(tmp_path / "b.jsonl.gz"))


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", ", and looks like Windows-1252"), ("utf-16", " but UTF-16")])
def test_an_encoding_that_is_not_utf_8_is_named(tmp_path, encoding, name):
    (tmp_path / "a.csv").write_bytes("prompt,harm\ncafé,0\n".encode(encoding))
    with pytest.raises(DataError, match=f"is not UTF-8{name}; save the file as UTF-8"):
        data_set(tmp_path / "a.csv")


# annotation tools


def test_an_argilla_export_has_a_label_for_each_user(tmp_path):
    rated = {"stance.responses": ["accept", "refuse"], "stance.responses.users": ["u1", "u2"]}
    row = {"prompt": ASKED, "response": ANSWERED, **rated}
    assert labels(jsonl(tmp_path, row), "stance.responses") == [{"u1": "accept", "u2": "refuse"}]


def test_label_studio_exports_are_read_as_json_and_as_csv(tmp_path):
    result = [{"value": {"choices": ["accept"]}, "from_name": "stance", "type": "choices"}]
    data = {"prompt": ASKED, "response": ANSWERED}
    task = {"id": 0, "data": data, "annotations": [{"completed_by": n, "result": result} for n in (1, 2)]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert labels(tmp_path / "a.json", "stance") == [{"1": "accept", "2": "accept"}]
    cell = '"{""choices"": [""refuse""]}"'
    (tmp_path / "a.csv").write_text(f"annotator,prompt,response,stance\n1,{ASKED},{ANSWERED},{cell}\n")
    assert labels(tmp_path / "a.csv", "stance", columns={"rater": "annotator"}) == [{"1": "refuse"}]


def test_a_rater_who_chose_two_labels_is_named(tmp_path):
    cell = '"{""choices"": [""accept"", ""caution""]}"'
    (tmp_path / "a.csv").write_text(f"prompt,response,stance\n{ASKED},{ANSWERED},{cell}\n")
    with pytest.raises(DataError, match=r"a\.csv, row 2: .*Label Studio export has 2 choices \(accept, caution\)"):
        labels(tmp_path / "a.csv", "stance")


# what is written


def test_a_csv_of_answers_and_of_verdicts_is_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    turns = [USER, ASSISTANT, USER]
    table = [{"prompt": "=1+1?", "response": "-2", "harm": 0}, {"prompt": turns, "response": "Yes.", "harm": 3}]
    answers = AnswerFile(str(jsonl(tmp_path, *table))).read()
    write_rows(tmp_path / "b.csv", answer_rows(answers))
    text = (tmp_path / "b.csv").read_text()
    assert '" =1+1?"' in text, "a spreadsheet must not run it"
    again = AnswerFile(str(tmp_path / "b.csv")).read()
    read = [(answer.prompt.text.strip(), answer.text.strip(), answer.prompt.harm) for answer in again]
    assert read == [("=1+1?", "-2", 0), (ASKED, "Yes.", 3)]
    assert len(again[1].prompt.messages) == 3
    judged = bedside.judge(tmp_path / "b.csv", judge="keyword", out=tmp_path / "v.csv", progress=SilentProgress())
    verdicts = read_judged(AnswerFile(str(tmp_path / "b.csv")), tmp_path / "v.csv")
    assert [row.verdict for row in verdicts] == [row.verdict for row in judged.rows]
    header, first = (tmp_path / "v.csv").read_text().splitlines()[:2]
    assert header.startswith('"prompt","answer","harm","response","judge","stance","unreadable"')
    assert "=1+1?" in first
    bedside.judge(tmp_path / "b.csv", judge="keyword", out=tmp_path / "v.csv", progress=SilentProgress())  # replaces it
    with pytest.raises(DataError, match="would be lost"):
        check_replaceable(tmp_path / "b.csv", Verdict)


def test_a_verdict_of_a_jsonl_file_stands_beside_its_prompt_and_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = jsonl(tmp_path, {"prompt": ASKED, "response": ANSWERED, "harm": 3})
    bedside.judge(source, judge="keyword", out=tmp_path / "v.jsonl", progress=SilentProgress())
    (row,) = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert (row["prompt"], row["answer"], row["harm"]) == (ASKED, ANSWERED, 3)
    assert {"response", "judge", "stance", "unreadable"} <= row.keys()


# damaged files


@pytest.mark.parametrize(
    "annotations", [[None], [1], [{"result": None}], [{"result": [1]}], [{"result": [{"value": {"choices": ["a"]}}]}]]
)
def test_an_annotation_that_is_not_label_studios_is_named_by_row_and_number(tmp_path, annotations):
    good = {"result": [{"from_name": "label", "value": {"choices": ["accept"]}}]}
    path = jsonl(tmp_path, {"data": {"prompt": ASKED, "response": ANSWERED}, "annotations": [good, *annotations]})
    with pytest.raises(DataError, match=r"^a\.jsonl, row 1: annotation 2 is not as Label Studio exports it"):
        labels(path)


def test_choices_that_are_no_list_are_a_label_without_a_meaning(tmp_path):
    path = jsonl(tmp_path, {"prompt": ASKED, "response": ANSWERED, "label": '{"choices": 1}'})
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: the label is"):
        labels(path)


def test_a_harm_level_of_four_hundred_digits_is_no_harm_level(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: harm is 1000"):
        data_set(jsonl(tmp_path, {"prompt": ASKED, "harm": 10**400}))


@pytest.mark.parametrize("column", ["probabilities", "scores", "votes"])
def test_a_cell_of_verdicts_that_is_no_table_is_named(tmp_path, column):
    path = tmp_path / "v.csv"
    write_rows(path, [{"response": "b2-0", "judge": "words", "stance": "accept", column: "{half"}])
    with pytest.raises(DataError, match=rf"^v\.csv, row 2: {column} is '{{half'; it should be a table in JSON"):
        read_rows(path, Verdict)


def test_a_column_that_no_row_has_is_named_before_what_is_wrong_with_the_first_row(tmp_path):
    path = jsonl(tmp_path, {"prompt": ASKED, "text": ANSWERED})
    with pytest.raises(DataError, match="no column 'reply' to read as response"):
        AnswerFile(str(path), {"response": "reply"}).read()
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: no answer"):
        AnswerFile(str(path)).read()


# what a stranger's files showed


def test_an_object_around_a_list_of_rows_is_read(tmp_path):
    row = {"prompt": "p", "response": "a", "harm": 0}
    (tmp_path / "w.json").write_text(json.dumps({"version": 1, "data": [row, row]}, indent=1))
    assert [found for _, found in rows(tmp_path / "w.json")] == [row, row]
    (tmp_path / "w.json").write_text(json.dumps({"a": [row], "b": [row]}, indent=1))
    with pytest.raises(DataError, match="is one object with a, b and no single list of rows; write a row a line"):
        list(rows(tmp_path / "w.json"))
    (tmp_path / "w.json").write_text('{"data": [\n{"prompt": "p"\n')
    with pytest.raises(DataError, match=r"row 1: is not one whole line of JSON, nor is the file one object"):
        list(rows(tmp_path / "w.json"))


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b"How much?", "the conversation is bytes, not text; save the column as text"),
        ({"0": "How much?", "1": "Why?"}, "the file is one table by column; write a row a line"),
        ([{"sender": "patient", "body": "How much?"}], "turn 1 has sender, body; rename them: role .* and content"),
    ],
)
def test_what_is_no_conversation_is_told_with_a_way_out(value, line):
    with pytest.raises(DataError, match=line):
        read_turns(value)


def test_a_record_of_argilla_is_read_and_a_rater_is_never_an_address(tmp_path):
    record = {"fields": {"prompt": "p", "response": "a"}, "status": "completed"}
    record["responses"] = {"stance": [{"value": "accept", "user_id": "u1"}, {"value": "refuse", "user_id": "u2"}]}
    (tmp_path / "r.json").write_text(json.dumps([record]))
    found = [row for _, row in annotations.rows(tmp_path / "r.json", ["stance"])]
    assert [(row["prompt"], row["stance"], row["rater"]) for row in found] == [
        ("p", "accept", "u1"),
        ("p", "refuse", "u2"),
    ]
    chosen = {"type": "choices", "from_name": "stance", "value": {"choices": ["accept"]}}
    by = {"completed_by": {"id": 7, "email": "anna@example.org"}, "result": [chosen]}
    (tmp_path / "t.json").write_text(json.dumps([{"data": {"prompt": "p"}, "annotations": [by]}]))
    assert [row["rater"] for _, row in annotations.rows(tmp_path / "t.json", ["stance"])] == ["7"]


def test_rows_that_repeat_an_earlier_one_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", [{"prompt": "p", "response": text} for text in ("a", "a", "b")])
    judged = bedside.judge("a.jsonl", "keyword", progress=SilentProgress())
    assert (len(judged.rows), judged.repeated) == (2, 1)


def test_a_file_of_verdicts_holds_the_whole_conversation(tmp_path):
    turns = [USER, ASSISTANT, {"role": "user", "content": "And at night?"}]
    table = [{"prompt": turns, "response": "One.", "harm": 0}, {"prompt": ASKED, "response": "Two.", "harm": 0}]
    bedside.judge(jsonl(tmp_path, *table), "keyword", config=None, out=tmp_path / "v.jsonl")
    asked = [row["prompt"] for _, row in rows(tmp_path / "v.jsonl")]
    assert asked == [turns, ASKED]
