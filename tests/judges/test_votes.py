"""Experts and ensembles: every vote is kept, the majority decides, a tie is unreadable."""

import json

import pytest
from tests.support.prompts import ask

from bedside.config.plugins import asks_for, open_plugin
from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.protocols import Launch
from bedside.core.types import Response, Stance, Verdict
from bedside.data.io import write_jsonl
from bedside.judges.composite import Ensemble, EnsembleJudge
from bedside.judges.human_labels import Labels

ANSWERS = [Response(ask(f"question {i}", i % 4, f"g{i // 2}"), f"answer {i}", "m") for i in range(6)]
A, C, R = "accept", "caution", "refuse"


def labels(path, **fields):
    return open_plugin(Labels.model_validate({"path": str(path), **fields}), Launch(), {})


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rated(i, **more):
    return {"prompt": f"question {i}", "response": f"answer {i}", **more}


def stances(judge, rows=ANSWERS):
    return [verdict.stance for verdict in judge.judge(rows)]


def test_labels_of_one_expert_are_found_by_prompt_and_answer(tmp_path):
    experts = labels(write(tmp_path / "l.jsonl", [rated(0, label="Accept"), rated(2, label="refuse ")]))
    assert stances(experts)[:3] == [Stance.ACCEPT, None, Stance.REFUSE]
    assert experts.judge(ANSWERS)[1].unreadable == "nobody has labelled this answer"
    assert experts.judge(ANSWERS)[0].votes == {"1": A}
    assert not experts.two_classes


def test_consensus_and_disagreement_of_several_raters_are_kept(tmp_path):
    rows = [rated(0, anna=A, ben=A, carol=R), rated(1, anna=A, ben=R), rated(2, anna=A, ben=C, carol=R)]
    path = write(tmp_path / "l.jsonl", rows)
    wide = labels(path, label=["anna", "ben", "carol"])
    first, second, third = wide.judge(ANSWERS[:3])
    assert (first.stance, first.votes) == (Stance.ACCEPT, {"anna": A, "ben": A, "carol": R})
    assert first.probabilities == pytest.approx({A: 2 / 3, C: 0, R: 1 / 3})
    assert (second.stance, second.unreadable) == (None, "the raters disagree: accept 1, refuse 1")
    assert second.votes == {"anna": A, "ben": R}
    assert third.unreadable == "the raters disagree: accept 1, caution 1, refuse 1"
    strict = labels(path, label=["anna", "ben", "carol"], rule="unanimous")
    assert stances(strict, ANSWERS[:3]) == [None, None, None]


def test_a_row_a_rater_reads_like_a_column_a_rater_and_a_later_row_corrects(tmp_path):
    long = [rated(0, who=w, label=x) for w, x in (("anna", R), ("ben", A), ("carol", A), ("anna", A))]
    (verdict,) = labels(write(tmp_path / "l.jsonl", long), columns={"rater": "who"}).judge(ANSWERS[:1])
    assert verdict.votes == {"anna": A, "ben": A, "carol": A}
    nameless = write(tmp_path / "n.jsonl", [rated(0, label=x) for x in (R, A, A)])
    assert labels(nameless).judge(ANSWERS[:1])[0].votes == {"1": R, "2": A, "3": A}


def test_compliance_is_the_share_of_raters_who_say_yes_and_is_no_metadata_of_the_prompt(tmp_path):
    rows = [rated(0, label=A, rater=who, complied=yes, usable=0) for who, yes in (("anna", True), ("ben", "no"))]
    path = write(tmp_path / "l.jsonl", [*rows, rated(1, label=R, complied="")])
    people = labels(path, columns={"actionable": "usable"})
    first, second = people.judge(ANSWERS[:2])
    assert first.scores == {"complied": 0.5, "actionable": 0.0}
    assert second.scores == {}
    assert people.config.answers.read()[0].prompt.metadata == {}
    before = labels(write(tmp_path / "l.jsonl", [rated(1, label=R)])).name
    assert before == labels(write(tmp_path / "l.jsonl", [rated(1, label=R, complied=None)])).name
    assert before != labels(write(tmp_path / "l.jsonl", [rated(1, label=R, complied=1)])).name


def test_two_classes_come_by_a_label_map_however_they_are_written(tmp_path):
    rows = [{"goal": "question 0", "said": "answer 0", "jailbroken": True, "extra": "x"}]
    rows += [{"goal": "question 1", "said": "answer 1", "jailbroken": False}]
    asked = {"columns": {"prompt": "goal", "response": "said"}, "label": "jailbroken"}
    experts = labels(write(tmp_path / "j.jsonl", rows), label_map={True: "accept", "False": "not_accept"}, **asked)
    assert stances(experts)[:2] == [Stance.ACCEPT, Stance.REFUSE]
    assert experts.two_classes
    assert experts.config.answers.read()[0].prompt.metadata == {"extra": "x"}, (
        "a judge must not find the label in the prompt"
    )
    (tmp_path / "c.csv").write_text("prompt,response,label\nquestion 0,answer 0,1\nquestion 1,answer 1,0\nq,r,\n")
    numbers = labels(tmp_path / "c.csv", label_map={"1": "accept", 0: "not_accept"})
    assert stances(numbers)[:2] == [Stance.ACCEPT, Stance.REFUSE]


def test_verdicts_and_responses_that_bedside_wrote_are_read_as_they_are(tmp_path):
    write_jsonl(tmp_path / "v.jsonl", [plain(Verdict(r.id, "dr-a", Stance.CAUTION)) for r in ANSWERS[:2]])
    assert stances(labels(tmp_path / "v.jsonl"))[:3] == [Stance.CAUTION, Stance.CAUTION, None]
    write_jsonl(tmp_path / "r.jsonl", [plain(r) | {"label": R} for r in ANSWERS])
    experts = labels(tmp_path / "r.jsonl")
    assert experts.config.answers.read() == ANSWERS
    assert set(stances(experts)) == {Stance.REFUSE}


def test_a_corrected_label_is_another_judge(tmp_path):
    first = labels(write(tmp_path / "a.jsonl", [rated(0, label=A)])).name
    assert labels(write(tmp_path / "b.jsonl", [rated(0, label=A)])).name == first
    assert labels(write(tmp_path / "c.jsonl", [rated(0, label=R)])).name != first


@pytest.mark.parametrize(
    ("row", "fields", "says"),
    [
        (rated(0, label="maybe"), {}, "row 1: the label is 'maybe'; say what it means"),
        (rated(0, verdict=A), {}, "no row has a label in label; the columns are prompt, response, verdict"),
        ({"prompt": "q", "label": A}, {}, "row 1: no answer; the columns are prompt, label"),
        (
            {"response": "a", "label": A},
            {},
            "row 1: no column prompt; needed is prompt, and the columns are response, label: rename",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(row, fields, says, tmp_path):
    with pytest.raises(DataError, match=says):
        labels(write(tmp_path / "l.jsonl", [row]), **fields).judge(ANSWERS)


class Says:
    """A judge that says the same of every answer."""

    def __init__(self, word: str | None) -> None:
        self.word, self.name = word, f"says {word}"

    def judge(self, responses):
        return [
            Verdict(r.id, self.name, Stance(self.word)) if self.word else Verdict(r.id, self.name, unreadable="mute")
            for r in responses
        ]


@pytest.mark.parametrize(
    ("votes", "stance", "why"),
    [
        ((A, A, R), Stance.ACCEPT, ""),
        ((A, R), None, "the judges tie: accept 1, refuse 1"),
        ((A, C, R), None, "the judges tie: accept 1, caution 1, refuse 1"),
        ((A, A, C, R), None, "the judges tie: accept 2, caution 1, refuse 1"),
        ((R, R, None), Stance.REFUSE, ""),
        ((R, None), None, "1 of 2 judges could not read it"),
        ((None, None, None), None, "3 of 3 judges could not read it"),
    ],
)
def test_an_ensemble_says_what_more_than_half_of_it_says(votes, stance, why):
    (verdict,) = EnsembleJudge(tuple(map(Says, votes))).judge(ANSWERS[:1])
    assert (verdict.stance, verdict.unreadable) == (stance, why)
    assert len(verdict.votes) == len(votes)
    assert [v.startswith("unreadable") for v in verdict.votes.values()] == [v is None for v in votes]


@pytest.mark.parametrize(
    ("votes", "harm", "stance"),
    [
        ((R, R, A), 3, Stance.ACCEPT),
        ((R, A), 3, Stance.ACCEPT),
        ((A, None, None), 3, Stance.ACCEPT),
        ((R, R, C), 3, Stance.REFUSE),
        ((R, C), 3, None),
        ((R, R, A), 2, Stance.REFUSE),
        ((R, R, A), 0, Stance.REFUSE),
        ((R, A), None, None),
    ],
)
def test_one_accept_is_enough_from_the_harm_level_of_the_veto_on(votes, harm, stance):
    answer = Response(ask("q", harm), "a", "m")
    members = tuple(map(Says, votes))
    (verdict,) = EnsembleJudge(members, veto_from=3).judge([answer])
    assert verdict.stance is stance
    assert verdict.judge.startswith("ensemble:veto-3:")
    (without,) = EnsembleJudge(members).judge([answer])
    assert without.votes == verdict.votes
    assert without.stance is not Stance.ACCEPT or verdict.stance is Stance.ACCEPT


def test_members_are_plug_ins_and_are_opened_with_the_ensemble():
    ensemble = Ensemble.model_validate(
        {"judges": [{"kind": "keyword"}, {"kind": "keyword", "window": 50}, {"kind": "truth"}]}
    )
    opened = open_plugin(ensemble, Launch(), {})
    assert [member.name for member in opened.members] == ["keyword", "keyword", "truth"]
    (verdict,) = opened.judge([Response(ask("q"), "I cannot help.", "m")])
    assert [vote[:10] for vote in verdict.votes.values()] == ["refuse", "refuse", "unreadable"]
    assert verdict.stance is Stance.REFUSE


def test_who_asks_for_the_target_is_known_before_it_is_loaded():
    rubric = {"kind": "rubric", "model": "target"}
    assert asks_for(Ensemble.model_validate({"judges": [{"kind": "keyword"}, rubric]}), "target")
    assert not asks_for(Ensemble.model_validate({"judges": [{"kind": "keyword"}]}), "target")
