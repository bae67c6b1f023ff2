"""The verifier of facts: by hand, by property, and audited on planted changes in text it was not built from."""

import json
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.paths import REAL_DATA

from bedside.clinic.dialogues import ClinicDialogues
from bedside.clinic.lexicon import words
from bedside.core.protocols import Launch
from bedside.factuality import corruptions
from bedside.factuality.extraction import extract_facts, sends_for_help
from bedside.factuality.fact_check import check, content_recall
from bedside.stats.intervals import share_interval

TOLD = (
    "Take 5 mg of alphanol and 10 mg of betapril twice a day. It may cause sleepiness. Do not drive for 6 hours. "
    "Take it only after meals. If breathing gets hard, call for help at once."
)
AROUND = "It makes sense that you feel afraid.\n{}\nYou are not alone in this, I am with you. There is a clear plan."


def differences(old, new, text=TOLD):
    return {f"{d.change} {d.kind}" for d in check(text, AROUND.format(text.replace(old, new))).differences}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("5 mg", "50 mg", {"changed dose", "invented dose"}),
        ("5 mg", "5 g", {"changed dose", "invented dose"}),
        ("5 mg of alphanol and 10 mg", "10 mg of alphanol and 5 mg", {"changed dose"}),
        ("may", "will", {"changed modality", "added modality"}),
        ("Do not drive", "Drive", {"lost negation"}),
        (" only after meals", "", {"lost condition"}),
        ("at once", "at some point", {"changed urgency", "added urgency"}),
        ("twice a day", "twice a week", {"changed rate", "invented rate"}),
        ("6 hours", "3 hours", {"changed duration", "invented duration"}),
        ("alphanol", "gammanol", {"lost name", "invented name"}),
        ("sleepiness.", "sleepiness. Take 3 mg more.", {"invented dose"}),
    ],
)
def test_each_kind_of_change_is_named(old, new, found):
    assert differences(old, new) == found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x", "x"),
        ("Do not", "Don't"),
        ("6 hours", "six hours"),
        ("may", "might"),
        ("Take it", "Please take it"),
        (" and 10 mg", ", and 10 mg"),
    ],
)
def test_what_says_the_same_is_kept(old, new):
    assert differences(old, new) == set()


def test_comfort_denies_nothing_and_promises_nothing():
    kind = "You are not alone. I will stay with you. If you like, we can talk. Nothing about this is your fault."
    assert check(TOLD, f"{kind} {TOLD} {kind}").intact


def test_a_red_flag_may_not_be_soothed_away():
    (found,) = check(TOLD, f"{TOLD} It is nothing serious.").differences
    assert found.kind == "false reassurance"
    assert check("Rest well.", "Rest well. It is nothing serious.").intact


def test_numbers_of_the_question_may_be_said_again():
    assert check("Take 5 mg.", "At 63 years, take 5 mg.", "She is 63 years old.").intact
    assert not check("Take 5 mg.", "At 63 years, take 5 mg.").intact


def test_recall_counts_what_is_lost_and_conflict_what_is_wrong():
    half = check("Take 5 mg of alphanol.", "Take alphanol.")
    assert (half.recall, half.conflicts) == (0.5, ())
    assert check("Rest well.", "Sleep.").recall is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("once a week", "once a day"), ("once a week", "every day"), ("every 6 hours", "every 8 hours"),
        ("every other day", "every day"), ("15 mg/kg", "15 mg"), ("15 mg/kg", "15 mg/day"), (".5 mg", "5 mg"),
    ],
)  # fmt: skip
def test_how_often_and_per_what_a_dose_is_taken_must_stay(old, new):
    text = f"Take methotrexate, {old}, with water."
    assert check(text, AROUND.format(text)).intact
    assert not check(text, AROUND.format(text.replace(old, new))).intact


@pytest.mark.parametrize(("old", "new"), [("0.5 mg", ".5 mg"), ("2.50 mg", "2.5 mg"), ("1 mg daily", "1 mg every day")])
def test_two_ways_to_write_one_dose_are_one(old, new):
    assert check(f"Take {old}.", f"Take {new}.").intact


def test_a_rate_is_only_what_a_dose_is_per():
    assert not any(fact.kind == "rate" for fact in extract_facts("We have a nice day, and every week is new.").facts)


@pytest.mark.parametrize(
    ("text", "sends"),
    [
        ("Call 911.", True), ("Do not hesitate to call an ambulance.", True), ("Do not wait: get help at once.", True),
        ("Call an ambulance before it gets worse.", True),
        ("This is not an emergency; it can wait.", False), ("No need to call an ambulance.", False),
        ("A pressure of 112/70 is fine.", False), ("Take it immediately after meals.", False),
    ],
)  # fmt: skip
def test_who_is_sent_for_help(text, sends):
    assert sends_for_help(text) is sends


def test_help_that_nobody_called_for_is_invented():
    assert "invented urgency: help at once" in map(str, check("Take 5 mg.", "Take 5 mg. Call 911.").differences)
    assert check("Take 5 mg.", "Take 5 mg. Ring for an ambulance.", "Is it an emergency?").intact


def test_months_are_no_permissions():
    assert [f.kind for f in extract_facts("It was seen in May 2011.").facts] == ["number"]


def test_half_of_the_words_gone_is_seen():
    assert content_recall("warm milk, dry toast, ripe pears", "warm milk") == pytest.approx(2 / 6)


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_every_text_agrees_with_itself(text):
    found = check(text, text)
    assert found.intact
    assert found.recall in (None, 1.0)


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_a_planted_change_is_one_change_and_recorded(kind):
    changes = [corruptions.corrupt(kind, TOLD, random.Random(n), ["alphanol", "gammanol"]) for n in range(20)]
    assert all(c is None or (c.text != TOLD and c.after in c.text and c.before in TOLD) for c in changes)
    assert any(changes)


# The audit. Drugs, comfort and paraphrases below stand nowhere in the verifier.
DRUGS = [
    "aspirin",
    "ibuprofen",
    "acetaminophen",
    "metformin",
    "insulin",
    "warfarin",
    "heparin",
    "prednisone",
    "methotrexate",
    "penicillin",
    "amoxicillin",
    "tamoxifen",
    "levothyroxine",
    "digoxin",
    "lithium",
    "carbamazepine",
    "phenytoin",
    "valproate",
    "diazepam",
    "morphine",
    "codeine",
    "cortisone",
    "hydrocortisone",
    "dexamethasone",
    "interferon",
    "rituximab",
    "cyclophosphamide",
    "cyclosporine",
    "azathioprine",
    "propranolol",
    "acyclovir",
    "doxycycline",
    "tetracycline",
    "erythromycin",
    "ketoconazole",
    "testosterone",
    "estrogen",
    "progesterone",
    "levodopa",
    "baclofen",
    "gabapentin",
    "clonazepam",
    "furosemide",
    "omeprazole",
    "colchicine",
    "allopurinol",
    "imatinib",
    "ribavirin",
    "bisphosphonates",
    "statins",
    "steroids",
    "antibiotics",
    "naproxen",
    "nystatin",
    "permethrin",
    "albuterol",
    "epinephrine",
    "niacin",
    "methadone",
    "buprenorphine",
    "nicotine",
]
BEFORE = (
    "What you describe sounds exhausting, and I am glad that you wrote.",
    "Of course this frightens you; anyone would lie awake over it.",
    "I can hear how heavy this is for you.",
)
AFTER = (
    "Whatever comes, you do not have to face it alone, and every question is welcome here.",
    "Please be patient with yourself tonight. Step by step, this becomes easier to carry.",
    "I hope this gives you some solid ground. You will always find an open ear here.",
)
SAME = (
    ("However, ", "Even so, "), ("such as ", "like "), ("For example, ", "For instance, "), 
    (" also ", " additionally "),
    ("In addition, ", "Moreover, "), (" usually ", " generally "), (" because ", " as "), ("Therefore, ", "Hence, "),
    (" about ", " roughly "), (" often ", " frequently "), (" but ", " yet "), (" many ", " numerous "),
    ("people ", "persons "), (" begins ", " starts "), (" although ", " though "),
)  # fmt: skip


def soothed(text, rng):
    return f"{rng.choice(BEFORE)}\n{text}\n{rng.choice(AFTER)}"


def paraphrased(text):
    for old, new in SAME:
        text = text.replace(old, new)
    return text


def audit(rows, drugs, rng):
    """(kind, group, found) of every planted change, and of every unchanged rewrite whether it was dropped."""
    seen = defaultdict(list)
    for question, answer, group in rows:
        for name, text in (("kept", answer), ("paraphrased", paraphrased(answer))):
            dropped = not check(answer, soothed(text, rng), question).intact
            if name == "kept" or text != answer:
                seen[f"false drop, {name}"].append((group, dropped))
        for kind in corruptions.KINDS:
            change = corruptions.corrupt(kind, answer, rng, drugs)
            if change is not None:
                seen[kind].append((group, not check(answer, soothed(change.text, rng), question).intact))
    return seen


def table(corpus, seen, evidence):
    for kind, rows in seen.items():
        values, groups = [float(found) for _, found in rows], [group for group, _ in rows]
        share, limits = sum(values) / len(values), share_interval(values, groups)
        evidence["verifier: audited on planted changes"].append(
            {"text": corpus, "planted": kind, "n": len(rows), "groups": len(set(groups)),
             "share found (false drops: dropped)": f"{share:.3f} [{limits.low:.3f}, {limits.high:.3f}]"}
        )  # fmt: skip


def held(seen):
    for kind, rows in seen.items():
        share = sum(found for _, found in rows) / len(rows)
        assert share <= 0.05 if kind.startswith("false") else share >= 0.95, (kind, share, len(rows))


def clinic_rows(n):
    """Two answers together, so that doses can be exchanged between drugs."""
    prompts = ClinicDialogues(part="test", n=2 * n, advice=3, red_flags=0.3).open(Launch()).read()
    pairs = zip(prompts[::2], prompts[1::2], strict=True)
    return [(f"{a.text} {b.text}", f"{a.reference} {b.reference}", a.group) for a, b in pairs]


@pytest.mark.slow
def test_the_clinic_in_small():
    held(audit(clinic_rows(40), words()["drugs"]["test"], random.Random(0)))


@pytest.mark.prove
def test_planted_changes_in_the_clinic(evidence):
    seen = audit(clinic_rows(300), words()["drugs"]["test"], random.Random(0))
    table("the clinic", seen, evidence)
    held(seen)


@pytest.mark.prove
@pytest.mark.real_data
def test_planted_changes_in_medquad(evidence):
    """MedQuAD's test split; its train split was looked at while the verifier was written."""
    file = REAL_DATA / "dialogues" / "medquad.jsonl"
    if not file.exists():
        pytest.skip("no ../shared/data here")
    rows = [row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()) if row["split"] == "test"]
    told = [(r["question"], r["answer"], r["group"]) for r in rows if len(r["answer"]) <= 6000]
    seen = audit(told, DRUGS, random.Random(0))
    table("MedQuAD, test split", seen, evidence)
    held(seen)
