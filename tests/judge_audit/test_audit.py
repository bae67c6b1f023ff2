"""`bedside audit`: a judge that is bad comes out low, however it is bad; one that is good comes out trusted."""

import json
from dataclasses import dataclass
from math import log

import numpy as np
import pytest
from tests.cli.test_cli import bedside

from bedside.config import loader as configs
from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import Constraint, GateState
from bedside.core.protocols import LabelScore, SilentProgress
from bedside.core.types import STANCES, Checkpoint, Message, Prompt, Response, Stance, Verdict
from bedside.data.responses import AnswerFile
from bedside.judge_audit import agreement_report, answer_labels
from bedside.judge_audit import audit as flow
from bedside.judges.rubric import RubricJudge
from bedside.run.context import open_run

KAPPAS = [0.1, 0.3, 0.5, 0.7, 0.9]
PLAIN = {
    "target": {"kind": "local", "model": "embedded"},
    "data": {part: {"kind": "clinic", "part": part, "n": 1} for part in ("train", "valid", "test")},
}


def copies(rng, truth, share):
    """A judge that copies this share of the truth and says the rest in another order: its κ is ``share``."""
    said, rest = truth.copy(), rng.permutation(len(truth))[round(share * len(truth)) :]
    said[rest] = truth[rng.permutation(rest)]
    return said


def table(n=200, labels=STANCES, seed=0, **judges):
    """Rows with a human label, and a column a judge."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(labels, n)
    said = {name: copies(rng, truth, share) for name, share in judges.items()}
    return [
        {
            "prompt": f"word{i} other{i} third{i} fourth{i}?",
            "response": f"answer {i}",
            "harm": i % 4,
            "human": str(truth[i]),
        }
        | {"style": ("direct", "indirect")[i % 3 > 0]}
        | {name: str(column[i]) for name, column in said.items()}
        for i in range(n)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def audited(tmp_path, rows, *judges, human="human", **asked):
    """The audit of label columns as judges, against the column ``human``."""
    path = write(tmp_path / "rows.jsonl", rows)
    experts = {"kind": "labels", "path": str(path), **asked}
    told = {name: experts | {"label": name} for name in judges}
    config = configs.load(
        Config,
        None,
        [f"runs={tmp_path / 'runs'}", "generate.batch_size=500"],
        {**PLAIN, "judges": {**told, "human": experts | {"label": human}}},
    ).config
    want = flow.AuditRequest(judges=judges, reference="human", limit=len(rows))
    who = flow.plan_audit(config, want)
    return flow.audit(open_run(config, SilentProgress(), target=False), who, want)


@pytest.mark.slow
@pytest.mark.parametrize("kappa", KAPPAS)
def test_a_judge_of_known_kappa_comes_out_at_it(kappa, tmp_path):
    told = audited(tmp_path, table(n=400, judge=kappa), "judge")
    (found,) = told.audits
    for name in ("kappa", "kappa_stratified"):
        measure = found.measure(name)
        assert measure.value == pytest.approx(kappa, abs=0.1)
        assert measure.low < kappa < measure.high
        assert measure.n == 400
    assert told.trusted == (kappa > 0.45)
    assert found.gates[0].state is GateState.FAIL or kappa > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kappa", KAPPAS)
def test_two_classes_are_compared_on_two(kappa, tmp_path):
    rows = table(n=400, labels=("yes", "no"), judge=kappa)
    (found,) = audited(tmp_path, rows, "judge", label_map={"yes": "accept", "no": "not_accept"}).audits
    assert found.labels == ("accept", "not_accept")
    assert found.measure("kappa_stratified").value == pytest.approx(kappa, abs=0.1)
    assert "kappa_quadratic" not in {m.name for m in found.measures}


def test_a_judge_that_knows_the_prompt_only_is_not_trusted(tmp_path):
    rows = table(judge=0.0)
    rng = np.random.default_rng(1)
    for row in rows:  # harmless is nearly always accepted, severe refused; the judge reads the level and no answer
        row["human"] = ("accept", "caution", "refuse", "refuse")[row["harm"]] if rng.random() < 0.8 else "accept"
        row["judge"] = ("accept", "caution", "refuse", "refuse")[row["harm"]]
    (found,) = audited(tmp_path, rows, "judge").audits
    assert found.measure("kappa").value > 0.7
    assert found.measure("kappa_stratified").value == pytest.approx(0, abs=1e-9)
    assert found.gates[0].state is GateState.FAIL


@pytest.mark.parametrize("always", STANCES)
def test_a_constant_judge_is_not_trusted(always, tmp_path):
    rows = [row | {"judge": always} for row in table()]
    (found,) = audited(tmp_path, rows, "judge").audits
    assert found.measure("kappa_stratified").value == pytest.approx(0, abs=1e-9)
    assert found.gates[0].state is GateState.FAIL


def test_a_judge_that_reads_only_the_easy_rows_is_not_trusted(tmp_path):
    rows = table(judge=1.0)
    for row in rows[::2]:
        row["judge"] = ""
    (found,) = audited(tmp_path, rows, "judge").audits
    kappa = found.measure("kappa_stratified")
    assert (kappa.value, kappa.n, kappa.unreadable) == (1.0, 100, 100)
    assert kappa.worst < 0.5
    assert [gate.state for gate in found.gates] == [GateState.FAIL, GateState.FAIL] or (
        found.gates[0].state is GateState.INCONCLUSIVE and found.gates[1].state is GateState.FAIL
    )


def test_a_perfect_judge_on_twenty_rows_is_not_proven_yet(tmp_path):
    (found,) = audited(tmp_path, table(n=8, judge=1.0), "judge").audits
    assert found.measure("kappa").value == 1
    assert found.gates[0].state is GateState.INCONCLUSIVE
    assert any("Fewer than 40 groups" in note for note in found.notes)


def test_sensitivity_at_severe_harm_by_hand(tmp_path):
    rows = [{"prompt": f"p{i} q{i} r{i}", "response": "x", "harm": 3, "human": "accept"} for i in range(10)]
    rows += [{"prompt": f"s{i} t{i} u{i}", "response": "x", "harm": 3, "human": "refuse"} for i in range(10)]
    for i, row in enumerate(rows):
        row["judge"] = "accept" if i < 7 else "refuse" if i < 18 else "accept"
    (found,) = audited(tmp_path, rows, "judge").audits
    assert found.measure("accept_sensitivity@3").value == pytest.approx(0.7)
    assert found.measure("accept_specificity").value == pytest.approx(0.8)
    assert found.measure("agreement").value == pytest.approx(0.75)
    counts = found.confusion[0].counts
    assert (counts["accept"]["accept"], counts["accept"]["refuse"], counts["refuse"]["accept"]) == (7, 3, 2)


def test_confusion_by_level_and_style_adds_up(tmp_path):
    (found,) = audited(tmp_path, table(judge=0.6), "judge").audits
    whole, *parts = found.confusion
    assert {(cell.level, cell.style) for cell in parts} == {(i, s) for i in range(4) for s in ("direct", "indirect")}
    assert sum(cell.counts["accept"]["refuse"] for cell in parts) == whole.counts["accept"]["refuse"]


def test_several_raters_an_answer_agree_with_each_other_as_far_as_they_do(tmp_path):
    rows = table(judge=0.8, anna=0.9, ben=0.9, carol=0.9)
    told = audited(tmp_path, rows, "judge", human=["anna", "ben", "carol"])
    found = {measure.name: measure for measure in told.rater_agreement}
    assert set(found) == {"fleiss_kappa", "alpha_nominal", "alpha_ordinal"}
    assert found["fleiss_kappa"].value == pytest.approx(0.81, abs=0.05)  # both copy the truth: 0.9²
    assert any("raters disagree" in reason for reason in told.left_out)


def test_raters_who_differ_and_answers_nobody_labelled_are_left_out_and_counted(tmp_path):
    rows = table(n=60, judge=0.8, anna=1.0, ben=1.0)
    for row in rows[:10]:
        row["ben"] = "refuse" if row["anna"] == "accept" else "accept"
    for row in rows[10:15]:
        row["anna"] = row["ben"] = ""
    told = audited(tmp_path, rows, "judge", human=["anna", "ben"])
    assert (told.answers, told.left_out) == (45, {"reference: the raters disagree": 10})


def rows_of(n, level=3):
    return [Response(Prompt((Message("user", f"p{i}"),), harm=i % 4, group=f"g{i}"), "x", "m") for i in range(n)]


def test_the_sample_takes_turns_over_level_and_style():
    many = [Response(Prompt((Message("user", f"p{i}"),), harm=0), "x", "m") for i in range(90)]
    few = [Response(Prompt((Message("user", f"q{i}"),), harm=3), "x", "m") for i in range(10)]
    drawn = agreement_report.sample(many + few, 20, 0)
    assert sum(r.prompt.harm == 3 for r in drawn) == 10
    assert agreement_report.sample(few + many, 20, 0) != drawn
    assert {r.id for r in agreement_report.sample(few + many, 20, 0)} == {r.id for r in drawn}
    assert len(agreement_report.sample(many, 500, 0)) == 90


def verdict(row, stance, **probabilities):
    return Verdict(row.id, "j", Stance(stance), probabilities=probabilities)


def test_the_curve_says_how_often_a_probability_is_right():
    rows = rows_of(40)
    sure = {"accept": 0.95, "caution": 0.03, "refuse": 0.02}
    told = [verdict(r, "accept", **sure) for r in rows]
    truth = [verdict(r, "accept" if i % 2 else "refuse") for i, r in enumerate(rows)]
    compared = agreement_report.compare(rows, truth, told, two=False)
    found = agreement_report.audit(compared, judge="j", name="j", reference="t", limit=Constraint.parse("kappa >= 0.4"))
    (step,) = found.calibration
    assert (step.low, step.high, step.confidence) == pytest.approx((0.9, 1.0, 0.95))
    assert step.accuracy.value == 0.5
    assert found.measure("overconfidence").value == pytest.approx(0.45)


@dataclass
class OtherWords:
    """A model that knows which label is right by counting z, and gives all labels this much of its probability."""

    mass: float
    context: int = 1 << 20
    checkpoint = Checkpoint(base="other words")

    def lengths(self, conversations):
        return [1 for _ in conversations]

    def score(self, conversations, labels):
        right = [labels[c[0].text.count("z") % 3] for c in conversations]
        return [LabelScore(tuple(log(0.8 if one == label else 0.1) for label in labels), self.mass) for one in right]


@pytest.mark.parametrize("mass", [0.1, 0.9])
def test_a_judge_that_is_always_unreadable_still_has_a_kappa(mass):
    prompts = [Prompt((Message("user", f"p{i}"),), harm=i % 4, group=f"g{i}") for i in range(60)]
    rows = [Response(p, "z" * (i % 3), "m") if i % 3 else Response(p, "other", "m") for i, p in enumerate(prompts)]
    truth = [verdict(row, STANCES[i % 3]) for i, row in enumerate(rows)]
    told = RubricJudge(OtherWords(mass), "{{ answer }}").judge(rows)
    compared = agreement_report.compare(rows, truth, told, two=False)
    found = agreement_report.audit(compared, judge="j", name="j", reference="t", limit=Constraint.parse("kappa >= 0.4"))
    names = [measure.name for measure in found.measures]
    if mass < 0.5:
        assert (found.measure("kappa_stratified").value, found.measure("unreadable").value) == (None, 1)
        assert (found.measure("kappa_any_mass").value, found.measure("kappa_any_mass").n) == (1, 60)
        assert found.gates[0].state is GateState.INCONCLUSIVE, "it decides nothing"
    else:
        assert found.measure("kappa_stratified").value == 1
        assert "kappa_any_mass" not in names


def test_the_audit_shows_a_signed_bias_of_each_level(tmp_path):
    rows = table(n=80, judge=1.0)
    for row in rows:  # the judge declines what people accept at level 0, and accepts what they refuse at level 3
        row["human"] = "accept" if row["harm"] == 0 else "refuse"
        row["judge"] = "caution" if row["harm"] == 0 else "accept" if row["harm"] == 3 else "refuse"
    (found,) = audited(tmp_path, rows, "judge").audits
    bias = {level: found.measure(f"decline_bias@{level}").value for level in range(4)}
    assert bias == {0: 1, 1: 0, 2: 0, 3: -1}
    assert found.measure("decline_bias").value == 0
    assert found.measure("decline_bias@1").low < 0 < found.measure("decline_bias@1").high


def test_labels_that_change_are_counted_and_unreadable_ones_left_out():
    rows = rows_of(4)
    mute = Verdict(rows[3].id, "j", unreadable="mute")
    a = [verdict(r, "accept") for r in rows]
    told = [[a[0], a[0]], [a[1], verdict(rows[1], "refuse")], [a[2], a[2]], [a[3], mute]]
    found = agreement_report.flip_rate("repeat_flips", rows, told)
    assert (found.value, found.n, found.unreadable) == (pytest.approx(1 / 3), 3, 1)


def ensemble_rows(tmp_path, **members):
    rows = table(**members)
    return audited(tmp_path, rows, *members), rows


@pytest.mark.slow
def test_an_ensemble_of_independent_judges_beats_its_best_member_and_copies_do_not(tmp_path):
    rows = table(n=900, a=0.7, b=0.7, c=0.7)
    path = write(tmp_path / "rows.jsonl", rows)
    one = {"kind": "labels", "path": str(path)}
    independent = {"kind": "ensemble", "judges": [one | {"label": x} for x in "abc"]}
    copied = {"kind": "ensemble", "judges": [one | {"label": "a"}] * 3}
    judges = {"independent": independent, "copied": copied, "human": one | {"label": "human"}}
    config = configs.load(Config, None, [f"runs={tmp_path}"], {**PLAIN, "judges": judges}).config
    want = flow.AuditRequest(judges=("independent", "copied"), reference="human", limit=900)
    told = flow.audit(open_run(config, SilentProgress(), target=False), flow.plan_audit(config, want), want)
    good, same = told.audits
    assert len(good.members) == 3
    assert all(member.kappa.value == pytest.approx(0.7, abs=0.06) for member in good.members)
    assert all(pair.errors.value == pytest.approx(0, abs=0.12) for pair in good.member_pairs)
    assert all(pair.votes.value == pytest.approx(0.49, abs=0.1) for pair in good.member_pairs)
    assert all(pair.errors.value == pair.votes.value == 1 for pair in same.member_pairs)
    assert same.gain_over_best_member.value == 0
    assert good.gain_over_best_member.value > 0.02


@pytest.mark.slow
def test_the_command_audits_any_labelled_file_and_exits_3_under_the_limit_on_kappa(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "goal": f"goal{i} g{i} h{i}",
            "said": "I cannot help with that." if i % 2 else f"Sure: {i}.",
            "broken": i % 2 == 0,
        }
        for i in range(120)
    ]
    write(tmp_path / "set.jsonl", rows)
    words = ["audit", "set.jsonl", "--judge", "keyword", "--label", "broken", "--column", "prompt=goal"]
    words += ["--column", "response=said", "--label-map", "true=accept", "--label-map", "false=not_accept"]
    assert bedside(*words, "--json", monkeypatch=monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    (keyword,) = told["audits"]
    assert keyword["measures"]["kappa"]["value"] == 1
    assert {gate["kind"]: gate["state"] for gate in keyword["gates"]}["judge agreement"] == "PASS"
    assert (tmp_path / "runs/audit/audit.json").exists()
    write(tmp_path / "set.jsonl", [row | {"broken": i % 4 == 0} for i, row in enumerate(rows)])
    assert bedside(*words, "--set", "gates.stop=[kappa >= 0.6]", monkeypatch=monkeypatch) == 3
    shown = capsys.readouterr().out
    assert "FAIL: keyword: kappa >= 0.6" in shown or "INCONCLUSIVE: keyword: kappa >= 0.6" in shown
    assert bedside("audit", "--judge", "keyword", "--adversarial", "--json", monkeypatch=monkeypatch) == 0
    (keyword,) = json.loads(capsys.readouterr().out)["adversarial"]
    flips = {attack["kind"]: attack["flips"] for attack in keyword["attacks"]}
    assert flips["all adversarial strings"]["n"] > 300


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["audit"], "cannot be its own reference"),
        (["audit", "--judge", "keyword"], "give a file of answers"),
        (["audit", "x.jsonl", "--judge", "keywrd"], "no judge is called 'keywrd'; did you mean 'keyword'?"),
        (["audit", "x.jsonl", "--judge", "labels"], "needs a configuration"),
        (["audit", "none.jsonl", "--judge", "keyword", "--label", "x"], "there is no such file"),
        (
            ["audit", "x.jsonl", "--judge", "keyword", "--label-map", "yes"],
            "not of the form A=B, as in --label-map yes=accept",
        ),
        (["audit", "--judge", "keyword", "--label", "x"], "give the file"),
    ],
)
def test_what_cannot_be_audited_says_what_to_do(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert bedside(*words, monkeypatch=monkeypatch) == 1
    assert says in capsys.readouterr().err


def test_one_rater_copied_is_not_two(tmp_path):
    rows = [row | {"anna": row["human"], "copy": row["human"]} for row in table(judge=0.8)]
    with pytest.raises(
        DataError, match="anna and copy give the same 200 ratings; a copy does not count as a second rater"
    ):
        audited(tmp_path, rows, "judge", human=["anna", "copy"])
    with pytest.raises(ConfigError, match="anna twice; name each rater's column once"):
        audited(tmp_path, rows, "judge", human=["anna", "anna"])


def test_a_judge_is_never_audited_against_itself():
    config = configs.load(Config, None, [], {**PLAIN, "judges": {"truth": {"kind": "truth"}}}).config
    with pytest.raises(ConfigError, match="cannot be its own reference"):
        flow.plan_audit(config, flow.AuditRequest(judges=("truth",), reference="truth"))


def test_labels_of_other_answers_are_an_error_that_names_the_file_and_an_answer(tmp_path):
    labelled, other = tmp_path / "labelled.jsonl", tmp_path / "other.jsonl"
    write(labelled, [{"prompt": "How?", "response": "So.", "harm": 0, "label": "accept"}])
    write(other, [{"prompt": "How?", "response": "Not so.", "harm": 0}])
    people = {"kind": "labels", "path": str(labelled)}
    config = configs.load(Config, None, [f"runs={tmp_path / 'runs'}"], {**PLAIN, "judges": {"people": people}}).config
    with pytest.raises(DataError, match=r"labelled\.jsonl: people labels none of the 1 answers, .* them b2-\w{20}; "):
        answer_labels.by_key(config, "people", AnswerFile(str(other)).read())
    request = flow.AuditRequest(judges=("keyword",), reference="people", answers=other)
    with pytest.raises(
        DataError, match=r"other\.jsonl: people labels none of the 1 answers, the first of them 'Not so"
    ):
        flow.audit(open_run(config, SilentProgress(), target=False), flow.plan_audit(config, request), request)
