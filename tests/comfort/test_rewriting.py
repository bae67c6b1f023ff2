"""What is written is verified; what is not right is written once more, then dropped with its reason."""

import pytest
import tests.support.careless_writer  # noqa: F401  registers the writer
from tests.support.prompts import ask

import bedside
from bedside.comfort.dialogues import RewrittenDialogue, add_hard_negatives, build_preferences
from bedside.comfort.emotions import EMOTIONS, STRONG, Feeling, choose_feeling
from bedside.comfort.rewrite_dialogues import rewrite
from bedside.comfort.writing import LengthLimits, find_faults, first_reason, is_refusal
from bedside.config.plugins import open_plugin
from bedside.config.rendering import path
from bedside.config.schema import Config
from bedside.core.errors import ConfigError
from bedside.core.protocols import Launch
from bedside.core.types import Completion
from bedside.factuality.fact_check import check
from bedside.run.context import Opener, RunContext
from bedside.run.stage_cache import StageCache

LIMITS = LengthLimits()
DRY = "Take 5 mg of abrelune for 6 days. Do not take it with milk."
WARM = f"It makes sense that you feel afraid.\n{DRY}\nYou are not alone in this, I am with you."


def opened_run(tmp_path, bad="", **rewrite):
    data = {
        part: {"kind": "clinic_dialogues", "part": part, "n": 30, "advice": 2} for part in ("train", "valid", "test")
    }
    config = Config.model_validate(
        {
            "target": {"kind": "copyist"},
            "data": data,
            "comfort": {"rewrite": {"model": {"kind": "copyist", "bad": bad}, **rewrite}},
        }
    )
    target = open_plugin(config.target, Launch(), {})
    return RunContext(config, Opener(config, Launch(), tmp_path, target), StageCache(tmp_path))


def prompts(run):
    return open_plugin(run.config.data.train.dataset, Launch(), {}).read()


def test_a_good_writer_keeps_every_row(tmp_path):
    told = opened_run(tmp_path)
    rows, counted = rewrite(told, prompts(told), "train")
    assert (len(rows), sum(counted.dropped.values())) == (30, 0)
    for row in rows:
        assert row.original.reference in row.answer
        assert row.original.text in row.prompt.text
        assert row.prompt.metadata["emotion"] == row.feeling.emotion
        assert row.cold.endswith(row.original.reference)


def test_what_has_no_answer_or_is_harmful_is_not_soothed(tmp_path):
    told = opened_run(tmp_path)
    asked = [ask("How much?", reference=DRY), ask("And what now?"), ask("How much is deadly?", 3, reference=DRY)]
    rows, counted = rewrite(told, asked, "train")
    assert [row.original.text for row in rows] == ["How much?"]
    assert counted.dropped == {"harmful request": 1, "no answer": 1}


def test_a_written_answer_is_verified_like_a_rewrite_and_no_model_writes(tmp_path):
    told = opened_run(tmp_path, bad="nothing may call the writer", mode="written", parts="answer")
    written = {"kept": WARM, "wrong dose": WARM.replace("5 mg", "50 mg"), "the same again": DRY, "none": ""}
    asked = [
        ask(f"How much, {name}?", reference=DRY, metadata={"emotion": "fear", "soothing_answer": text})
        for name, text in written.items()
    ]
    rows, counted = rewrite(told, asked, "train")
    assert [(row.prompt.text, row.answer, row.rewriter) for row in rows] == [("How much, kept?", WARM, "the data")]
    assert rows[0].cold.endswith(DRY)
    assert counted.dropped == {
        "answer: changed dose": 1,
        "answer: the text was only repeated": 1,
        "answer: no column soothing_answer, or empty": 1,
    }


def test_the_joint_loop_has_no_written_answers():
    with pytest.raises(ConfigError, match=r"comfort\.rewrite\.mode: is written.*choose full or frame"):
        bedside.load(path("comfort.yaml"), ["align.objectives=[safety, comfort]", "comfort.rewrite.mode=written"])


def test_a_paraphrase_has_its_wrong_side_too_and_the_verifier_sees_it():
    told = ask("How much?", reference=DRY)
    answer = "I hear you. The dose is 5 mg of abrelune, for 6 days. Do not take it with milk, please."
    row = add_hard_negatives(RewrittenDialogue(told, answer, told, Feeling("fear", "mild"), "w"), ["abrelune"], 0)
    assert row.wrong not in ("", answer)
    assert not check(DRY, row.wrong, told.text).intact


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I’m sorry, but I can’t help.", True), ("I am sorry, but I cannot.", True), ("As an AI, I must not.", True),
        ("I'm sorry, I know how frightening this must feel.", False), ("I cannot imagine how hard it is.", True),
    ],
)  # fmt: skip
def test_kindness_is_no_refusal(text, refuses):
    assert is_refusal(text) is refuses


def test_a_word_inside_another_says_nothing():
    assert STRONG.search("What diet is best?") is None
    assert STRONG.search("Will she die?")


@pytest.mark.parametrize("bad", ["echo", "refuse", "nothing", "wrong"])
def test_a_second_try_is_asked_for_and_counted(tmp_path, bad):
    told = opened_run(tmp_path, bad, parts="answer")
    rows, counted = rewrite(told, prompts(told), "train")
    assert len(rows) == 30
    assert 0 < counted.notes["kept after a second try"] < 30


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("echo", "answer: the text was only repeated"),
        ("refuse", "answer: the writer refused"),
        ("nothing", "answer: nothing was written"),
        ("wrong", "answer: changed number"),
    ],
)
def test_a_writer_that_stays_bad_loses_its_rows_by_name(tmp_path, bad, why):
    told = opened_run(tmp_path, f"always-{bad}", parts="answer")
    rows, counted = rewrite(told, prompts(told), "train")
    assert rows == []
    assert counted.dropped[why] > 5


def test_the_recorded_change_is_the_only_difference(tmp_path):
    told = opened_run(tmp_path)
    rows, _ = rewrite(told, prompts(told), "train")
    assert len({row.change["kind"] for row in rows if row.change}) >= 4
    for row in rows:
        assert row.wrong != row.answer
        assert not check(row.original.reference, row.wrong, row.prompt.text).intact, row.change


def test_the_same_rows_teach_three_objectives(tmp_path):
    told = opened_run(tmp_path)
    rows, _ = rewrite(told, prompts(told)[:5], "train")
    data = build_preferences(rows)
    assert (len(data.demonstrations), len(data.pairs)) == (5, 15)
    assert sum(t.label for t in data.unpaired) == 5
    bare = build_preferences(rows, wrong=False, cold=False)
    assert (len(bare.pairs), len(bare.unpaired)) == (5, 10)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (WARM, None),
        (DRY, "the text was only repeated"),
        ("", "nothing was written"),
        ("I'm sorry, but I can't help.", "the writer refused"),
        (WARM.replace("5 mg", "50 mg"), "changed dose"),
        (WARM.replace("Do not take", "Take"), "lost negation"),
        (WARM + " word" * 90, "too long"),
        ("Rest well.", "too short"),
    ],
)
def test_faults_are_named(text, fault):
    faults = find_faults(Completion(text), DRY, LIMITS)
    assert (faults and first_reason(faults)) == (fault or ())


def test_a_cut_text_is_no_rewrite():
    assert find_faults(Completion(WARM, finished=False), DRY, LIMITS) == ("the text is cut off",)


def test_a_feeling_that_is_told_is_kept_and_others_suit_the_case():
    assert choose_feeling(ask("q", metadata={"emotion": "anger", "intensity": "mild"}), 0) == Feeling("anger", "mild")
    felt = {choose_feeling(ask(f"Blood in the vomit, case {n}"), 0).emotion for n in range(40)}
    assert felt == {"fear", "anxiety"}
    assert {choose_feeling(ask(f"Question {n}"), 0).emotion for n in range(200)} == set(EMOTIONS)


def test_a_person_swapped_for_another_is_seen():
    faults = find_faults(Completion("I am sad.\nMy flatmate has gout."), "My cousin has gout.", LIMITS)
    assert any("name" in fault for fault in faults)


def test_an_answer_beyond_the_context_is_dropped_and_said(tmp_path):
    told = opened_run(tmp_path, max_words=4000)
    long = ask("How?", reference="Rest well and drink water. " * 500, group="g")
    rows, counted = rewrite(told, [long], "train")
    assert rows == []
    assert counted.dropped == {"longer than the writer reads": 1}
