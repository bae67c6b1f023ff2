"""Real dialogues come as they come: three shapes, HTML, gaps, doubles, identifiers."""

import json

import pytest
from tests.support.paths import REAL_DATA

from bedside.clinic.dialogues import ClinicDialogues
from bedside.clinic.lexicon import payload
from bedside.config.schema import Config
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.data.dialogues import NAMES_NOT_FOUND, Dialogues, without_html
from bedside.run import experiment


def told(tmp_path, *rows, **config):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Dialogues(path=str(file), **config).open(Launch())


@pytest.mark.parametrize(
    "row",
    [
        {"question": "May I run?", "answer": "Yes, slowly."},
        {"prompt": "May I run?", "completion": "Yes, slowly."},
        {"instruction": "May I run?", "input": "", "output": "Yes, slowly."},
        {"messages": [{"role": "user", "content": "May I run?"}, {"role": "assistant", "content": "Yes, slowly."}]},
        {"question": "<p>May I <b>run</b>?</p>", "answer": "Yes, slowly.<br>"},
    ],
)
def test_all_shapes_say_the_same(tmp_path, row):
    (prompt,) = told(tmp_path, row).read()
    assert (prompt.text, prompt.reference, prompt.harm) == ("May I run?", "Yes, slowly.", 0)


def test_an_instruction_with_input_is_a_system_turn(tmp_path):
    (prompt,) = told(tmp_path, {"instruction": "You are a doctor.", "input": "I cough.", "output": "Rest well."}).read()
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert prompt.text == "I cough."


def test_the_answer_is_the_turn_after_the_last_question(tmp_path):
    turns = [("user", "I cough."), ("assistant", "How long?"), ("user", "A week."), ("assistant", "See a doctor soon.")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (prompt,) = told(tmp_path, row).read()
    assert (prompt.text, prompt.reference, len(prompt.messages)) == ("A week.", "See a doctor soon.", 3)


def test_rows_without_use_are_left_out_and_counted(tmp_path):
    data = told(
        tmp_path,
        {"question": "a b", "answer": ""},
        {"question": "c d", "answer": "Yes"},
        {"question": "e f", "answer": "Rest well."},
        {"question": "e f", "answer": "Another answer."},
        {"question": "头疼怎么办?", "answer": "多喝水"},
    )
    assert [p.text for p in data.read()] == ["e f", "头疼怎么办?"]
    assert data.filter_counts.dropped == {"no answer": 1, "answer of one word": 1, "same text as an earlier row": 1}


def test_identifiers_are_counted_or_scrubbed_and_nobody_is_called_safe(tmp_path):
    row = {"question": "Mail ann@b.org.", "answer": "Call 555-123-4567 now."}
    scanned, scrubbed = told(tmp_path, row), told(tmp_path, row, phi="scrub")
    off = told(tmp_path, row, phi="off")
    assert scanned.read()[0].text == "Mail ann@b.org."
    assert scanned.filter_counts.notes["rows with email"] == 1
    assert scanned.filter_counts.notes[NAMES_NOT_FOUND] == 1
    (prompt,) = scrubbed.read()
    assert (prompt.text, prompt.reference) == ("Mail [EMAIL].", "Call [PHONE] now.")
    assert not off.filter_counts.notes


def test_a_written_soothing_answer_is_kept_at_any_length_under_any_name_and_scrubbed(tmp_path):
    row = {"question": "May I run?", "answer": "Yes, slowly.", "kind": "<p>I hear you.</p> " + "Yes, slowly. " * 20}
    (prompt,) = told(tmp_path, row, columns={"soothing_answer": "kind"}).read()
    assert prompt.metadata["soothing_answer"] == ("I hear you.\n" + "Yes, slowly. " * 20).strip()
    named = {"question": "May I run?", "answer": "Yes.  Slowly.", "soothing_answer": "Call 555-123-4567, I hear you."}
    (prompt,) = told(tmp_path, named, phi="scrub").read()
    assert prompt.metadata["soothing_answer"] == "Call [PHONE], I hear you."


def test_a_file_without_a_single_answer_says_so(tmp_path):
    with pytest.raises(DataError, match=r"no row has a question and an answer to learn from \(2 no answer\)"):
        told(tmp_path, {"question": "May I run?", "answer": ""}, {"question": "And walk?", "answer": " "}).read()


def test_what_reading_left_out_and_saw_stands_in_a_runs_flows(tmp_path):
    rows = [{"question": f"May I run {n} miles?", "answer": f"Yes, ask ann{n}@b.org.", "group": n} for n in range(9)]
    file = str(tmp_path / "rows.jsonl")
    told(tmp_path, *rows, {"question": "And walk?", "answer": ""})
    source = {"kind": "dialogues", "path": file}
    data = {"train": source, "valid": {**source, "share": 0.2}, "test": {**source, "share": 0.3}}
    parts = experiment.read_parts(Config.model_validate({"target": "embedded", "data": data}), Launch())
    first, *_ = parts.filter_counts
    assert (first.step, first.kept, first.notes["rows with email"]) == ("read: train", 9, 9)
    assert sum(first.dropped.values()) == 1


def test_what_is_no_tag_stays():
    assert without_html("Keep it at < 5 mg, or > 2 mg &amp; rest") == "Keep it at < 5 mg, or > 2 mg & rest"


def test_a_row_without_a_question_says_what_there_is(tmp_path):
    with pytest.raises(DataError, match=r"row 1: no question; .*the columns are text"):
        told(tmp_path, {"text": "hello"}).read()


def test_the_clinics_answers_hold_what_the_metadata_says():
    for prompt in (
        ClinicDialogues(part="test", n=200, advice=2, contrast_partners=0.3, red_flags=0.3).open(Launch()).read()
    ):
        assert prompt.metadata["payload_1"] in prompt.reference
        assert prompt.metadata["payload_2"] in prompt.reference
        assert all(line in prompt.reference for line in prompt.metadata["advice"].split(" | "))
        assert (prompt.metadata["red_flag"] == "yes") == ("emergency" in prompt.reference)
        assert payload(prompt.metadata["drug"])[0] == prompt.metadata["payload_1"]


def test_partners_share_group_and_answer():
    groups = {}
    for prompt in ClinicDialogues(part="test", n=120, contrast_partners=1.0).open(Launch()).read():
        groups.setdefault(prompt.group, []).append(prompt)
    assert {len({p.reference for p in rows}) for rows in groups.values()} == {1}
    assert {p.metadata["contrast_partner"] for rows in groups.values() for p in rows} == {
        "original", "age and sex", "origin", "literacy",
    }  # fmt: skip


def test_parts_share_no_word_of_their_lists():
    train = ClinicDialogues(part="train", n=200, emotional=True).open(Launch()).read()
    test = ClinicDialogues(part="test", n=200, emotional=True).open(Launch()).read()
    for key in ("drug", "condition"):
        assert not {p.metadata[key] for p in train} & {p.metadata[key] for p in test}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["medquad", "counsel_chat"])
def test_real_dialogues_are_read(name):
    file = REAL_DATA / "dialogues" / f"{name}.jsonl"
    if not file.exists():
        pytest.skip("no ../shared/data here")
    data = Dialogues(path=str(file)).open(Launch())
    prompts = data.read()
    assert len(prompts) > 500
    assert all(p.reference and "<p>" not in p.reference for p in prompts)
