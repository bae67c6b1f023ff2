"""What looks like an identifier is found in everything that is kept of a row, and doses are left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.core.protocols import Launch
from bedside.data import deidentify
from bedside.data.datasets import Cares, Jsonl
from bedside.data.dialogues import Dialogues

IDENTIFIERS = [
    ("email", ["write to a.b@clinic.org"]),
    ("url", ["see https://x.org/p?id=4"]),
    ("ip address", ["from 10.0.0.12", "1.1.1.1"]),
    ("social security number", ["SSN 123-45-6789"]),
    ("street", ["12 Mill Lane", "1 Mill Lane"]),
    ("long number", ["number 12345678901", "12345678"]),
    ("phone", ["call 555-123-4567", "(555) 010-1000", "555.123.4567", "1-800-555-1234", "+1 (555) 123-4567.",
               "+1 555 0123", "07700 900123", "07700900123", "020 7946 0958", "(0161) 496 0000", "+44 (0)20 7946 0958",
               "0044 7700 900123", "le 06 12 34 56 78", "06.12.34.56.78", "0612345678", "+33 6 12 34 56 78",
               "+33612345678", "+49 30 1234 5678 now", "030/1234567", "+91 98765 43210", "0412 345 678",
               "98 1234 5678", "943 476 5918"]),
    ("nhs number", ["943 476 5919", "943-476-5919", "9434765919"]),
    ("record number", ["MRN 4471003", "mrn 1ab", "MRN: 00412", "MRN00077", "mrn is 4471003", "#12345678", "A1234567",
                       "patient no. 44710", "Hospital number RX12345", "NHS number: 943 476 5918"]),
    ("date", ["born 03/04/1956", "2024/03/05", "2024-03-05", "2024-03-05T10:00", "05.03.2024", "5.3.24",
              "March 5th 2024", "March 5, 2024", "5 Mar 24", "5-Mar-2024", "5 mars 2024", "4th of March 2021",
              "on March 5th", "03/2024", "March 2024", "20240305"]),
]  # fmt: skip
NONE = [
    "500 mg", "take 20 mg twice a day", "blood pressure 140/90", "120/80", "10-15 ml", "2-3 times", "1,000,000 units",
    "37.5-38.0", "7.5-10.0 mg", "250 500 1000 mg", "500-1000-1500 mg", "1.000.000", "1 000 000", "150 000 platelets",
    "24/7", "2019-2020", "in 2024", "T-score -2.5", "B12", "COVID-19", "M54.5", "CYP2D6", "call NHS 111", "1:1000",
    "patient number 12", "on day 14 of 28", "6/12", "10 000 steps", "1-2 tablets every 4-6 hours", "you may 2 times",
    "2000-2500 kcal", "10-12-14 units", "NCT01234567",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in IDENTIFIERS for text in texts])
def test_an_identifier_is_of_one_kind(kind, text):
    assert [found for found, _ in deidentify.find_identifiers(text)] == [kind]


@pytest.mark.parametrize("text", NONE)
def test_a_dose_and_a_code_are_no_identifiers(text):
    assert deidentify.find_identifiers(text) == []


def test_a_whole_number_is_scrubbed_and_not_its_first_part():
    text = "NHS number 943 476 5918, call +44 20 7946 0958 from 03/04/2024"
    assert deidentify.scrub(text, deidentify.find_identifiers(text)) == "[RECORD NUMBER], call [PHONE] from [DATE]"


@given(st.lists(st.sampled_from([text for _, texts in IDENTIFIERS for text in texts] + NONE + [" ", "7", "@", "www."])))
def test_no_kind_is_left_out_that_would_match(pieces):
    """Kinds that need more digits, or a mark, than a text has are skipped: that must change nothing."""
    text, searched = " ".join(pieces), []
    blanked = text
    for kind in deidentify.KINDS:
        blanked = deidentify._take(kind, blanked, searched)
    assert deidentify.find_identifiers(text) == searched


@pytest.mark.parametrize("piece", ["a", "1", "0 ", "1-", "+1 ", "mrn ", "nhs 1 ", "a@", "12 Ab ", "1."])
def test_a_long_text_is_read_in_time_that_grows_with_its_length(piece):
    assert len(deidentify.find_identifiers(piece * 20_000)) <= 20_000


@pytest.mark.parametrize("column", ["patient_name", "Patient Name", "name", "eMail", "phone_2", "mrn", "DOB", "address",
                                    "firstName", "patient_id", "NHS Number", "date of birth", "Postcode"])  # fmt: skip
def test_a_column_that_names_a_person_is_known_by_its_name(column):
    assert deidentify.names_a_person(column)


@pytest.mark.parametrize("column", ["drug_name", "specialty", "model_name", "age_band", "condition", "emotion"])
def test_another_column_names_nobody(column):
    assert not deidentify.names_a_person(column)


ROW = {
    "prompt": "I am at a@b.org, may I rest?",
    "harm": 0,
    "reference": "Call 555-123-4567.",
    "group": "MRN 4471003",
    "source": "mail of c@d.org",
    "patient_name": "Ottilie Bergmann",
    "note": "seen 03/04/2024",
    "specialty": "ears",
}


@pytest.mark.parametrize("source", [Jsonl, Cares, Dialogues])
def test_every_source_scrubs_every_text_that_it_keeps(tmp_path, source):
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "prompt": "And walk?", "group": "g"}) + "\n")
    kept, scrubbed = (source(path=str(file), phi=phi).open(Launch()) for phi in ("scan", "scrub"))
    first, second = scrubbed.read()
    assert (first.text, first.reference) == ("I am at [EMAIL], may I rest?", "Call [PHONE].")
    assert first.metadata == {"note": "seen [DATE]", "specialty": "ears"}
    assert first.source == "mail of [EMAIL]"
    assert first.group != second.group == "g", "a group tells rows apart after the scrubbing, too"
    assert "4471003" not in first.group
    assert kept.read()[0].metadata["patient_name"] == "Ottilie Bergmann"
    assert kept.identified.columns == {"patient_name": ("p.jsonl, row 1", "p.jsonl, row 2")}
    assert kept.identified.kinds["record number"] == ("p.jsonl, row 1",)
    assert len(kept.identified.kinds["date"]) == 2, "metadata are searched"
    assert kept.filter_counts.notes["rows with column patient_name"] == 2
    assert source(path=str(file), phi="off").open(Launch()).identified is None
