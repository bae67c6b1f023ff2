"""`bedside audit --scale ordinal`: people's ratings, and a judge's scores, on an ordered scale."""

import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from tests.cli.test_cli import bedside

from bedside.config.schema import GatesConfig
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import GateState
from bedside.core.types import Verdict
from bedside.data.ratings import RatingFile
from bedside.judge_audit.scale_audit import audit_scale, compare_ratings


def write(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def rated(n=60, levels=5, seed=0, **noise):
    """Rows in which each rater is off the truth by one level with the given probability."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, levels, n)
    off = {name: rng.choice([-1, 0, 1], n, p=[p / 2, 1 - p, p / 2]) for name, p in noise.items()}
    return [
        {"item": i, **{name: int(np.clip(truth[i] + shift[i], 0, levels - 1)) for name, shift in off.items()}}
        for i in range(n)
    ]


def compare(tmp_path, rows, *raters, **options):
    file = RatingFile(str(write(tmp_path / "ratings.csv", rows)), raters, **options)
    return compare_ratings(file.read(), GatesConfig())


def test_two_raters_of_a_csv_get_scikit_learns_quadratic_kappa_by_the_command_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = rated(anna=0.5, ben=0.8)
    write(tmp_path / "ratings.csv", rows)
    words = ["audit", "ratings.csv", "--scale", "ordinal", "--label", "anna", "--label", "ben", "--levels", "0,1,2,3,4"]
    assert bedside(*words, "--json", monkeypatch=monkeypatch) == 0
    (pair,) = json.loads(capsys.readouterr().out)["scale"]["pairs"]
    anna, ben = ([row[name] for row in rows] for name in ("anna", "ben"))
    for name, weights in (("kappa_quadratic", "quadratic"), ("kappa", None)):
        theirs = cohen_kappa_score(anna, ben, weights=weights, labels=range(5))
        assert abs(pair["measures"][name]["value"] - theirs) <= 1e-12
    assert pair["measures"]["bias"]["value"] == pytest.approx(np.mean(ben) - np.mean(anna))
    assert bedside(*words[:-2], monkeypatch=monkeypatch) == 0
    assert "scale 0 < 1 < 2 < 3 < 4, taken from the labels" in capsys.readouterr().out


def test_the_scale_that_is_declared_counts_not_the_labels_in_use(tmp_path):
    names = {0: "none", 1: "mild", 2: "severe"}
    rows = [{key: names.get(cell, "severe") for key, cell in row.items()} for row in rated(levels=3, a=0.5, b=0.5)]
    audit = compare(tmp_path, rows, "a", "b", levels=("none", "mild", "moderate", "severe"))
    place = {"none": 0, "mild": 1, "moderate": 2, "severe": 3}
    theirs = cohen_kappa_score(*([place[row[x]] for row in rows] for x in "ab"), weights="quadratic", labels=range(4))
    assert audit.pairs[0].measure("kappa_quadratic").value == pytest.approx(theirs, abs=1e-12)
    narrow = compare(tmp_path, rows, "a", "b", levels=("none", "mild", "severe"))
    assert narrow.pairs[0].measure("kappa_quadratic").value != pytest.approx(theirs, abs=1e-6)


def test_any_number_of_people_with_gaps_have_one_alpha_and_a_kappa_each_pair(tmp_path):
    rows = rated(a=0.3, b=0.3, c=0.3)
    for row in rows[::4]:
        row["b"] = ""
    audit = compare(tmp_path, rows, "a", "b", "c")
    assert [(pair.first, pair.second) for pair in audit.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.measure("kappa").n for pair in audit.pairs] == [45, 60, 45]
    assert [measure.name for measure in audit.overall] == ["alpha_ordinal", "alpha_nominal", "fleiss_kappa"]
    assert audit.overall[0].value > audit.overall[1].value  # neighbours differ, and that is little on a scale


def test_a_row_a_rater_is_the_same_as_a_column_a_rater(tmp_path):
    rows = rated(a=0.4, b=0.4)
    long = [{"item": row["item"], "reader": name, "rating": row[name]} for row in rows for name in "ab"]
    long.append({"item": 0, "reader": "a", "rating": rows[0]["a"]})  # exported twice: still one rating
    other = compare(tmp_path, long, "rating", columns={"rater": "reader"})
    assert other.pairs == compare(tmp_path, rows, "a", "b").pairs


def test_ratings_of_one_group_are_no_further_evidence(tmp_path):
    rows = rated(a=0.5, b=0.5)
    alone = compare(tmp_path, rows, "a", "b").pairs[0].measure("kappa_quadratic")
    copied = [row | {"group": row["item"]} for row in rows * 4]
    grouped = compare(tmp_path, copied, "a", "b").pairs[0].measure("kappa_quadratic")
    assert (grouped.value, grouped.low) == pytest.approx((alone.value, alone.low))


@pytest.mark.parametrize(
    ("raters", "options", "says"),
    [
        (("a", "a"), {}, "column a is named twice"),
        (("a", "copy"), {}, "a and copy give the same 60 ratings; a copy does not count as a second rater"),
        (("a", "b"), {"levels": ("0", "1")}, "is '[234]', and the scale is 0, 1; add it to --levels"),
        (("a", "b"), {"levels": ("0", "0", "1")}, "level 0 is named twice"),
        (("a", "word"), {}, "a label is 'good'; name the scale, least level first: --levels"),
        (("a", "bb"), {}, "no column 'bb'; "),
        (("a",), {"scores": {"b": 2.0}}, r"b is '[34]'; it is a score from 0 to 2"),
        (("a",), {"scores": {"word": 2.0}}, "word is 'good'; it is a score from 0 to 2"),
    ],
)
def test_ratings_that_make_no_sense_say_what_to_do(raters, options, says, tmp_path):
    rows = [row | {"copy": row["a"], "word": "good"} for row in rated(a=0.5, b=0.5)]
    with pytest.raises(DataError, match=says):
        compare(tmp_path, rows, *raters, **options)


def test_a_copy_of_a_few_ratings_may_be_a_second_person(tmp_path):
    rows = [row | {"b": row["a"]} for row in rated(n=19, a=0.5)]
    assert compare(tmp_path, rows, "a", "b").pairs[0].measure("agreement").value == 1


def test_one_rater_is_nobody_to_compare_with(tmp_path):
    with pytest.raises(ConfigError, match="compares two raters or more"):
        compare(tmp_path, rated(a=0.5), "a")


def test_a_judges_scores_are_read_as_the_nearest_level_and_its_bias_is_signed(tmp_path):
    rows = rated(n=90, levels=3, a=0.1, b=0.1)
    for row in rows:
        row["judge"] = min(2.0, row["a"] + 0.25)  # of 0 to 2: never the nearest of another level, and too high
    audit = compare(tmp_path, rows, "a", "b", scores={"judge": 2.0})
    people, with_a, _ = (pair for pair in audit.pairs if pair.second == "judge")
    assert (people.first, people.measure("kappa_quadratic").n) == ("people (2)", 180)
    assert with_a.measure("kappa_quadratic").value == 1
    under = np.mean([row["a"] < 2 for row in rows])
    assert with_a.measure("bias").value == pytest.approx(0.25 * under)
    assert with_a.measure("bias").low > 0
    assert [gate.state for gate in audit.gates] == [GateState.PASS, GateState.PASS]


def test_a_judge_without_agreement_or_with_gaps_is_not_trusted(tmp_path):
    rows = rated(n=90, levels=3, a=0.1)
    rng = np.random.default_rng(1)
    noise = [row | {"judge": rng.random()} for row in rows]
    assert compare(tmp_path, noise, "a", scores={"judge": 1.0}).gates[0].state is GateState.FAIL
    gaps = [row | {"judge": "" if i % 3 else row["a"] / 2} for i, row in enumerate(rows)]
    audit = compare(tmp_path, gaps, "a", scores={"judge": 1.0})
    assert [gate.state for gate in audit.gates] == [GateState.PASS, GateState.FAIL]
    assert audit.pairs[0].measure("kappa").unreadable == 60


@dataclass
class ByLength:
    """Comfort judge: two lines, both by the length of the answer, and silent on long ones."""

    name: str = "by length"

    def judge(self, responses):
        return [
            Verdict(r.id, self.name, scores={"empathetic": len(r.text) / 8, "reassuring": len(r.text) / 8})
            if len(r.text) <= 8
            else Verdict(r.id, self.name, unreadable="too long")
            for r in responses
        ]


@dataclass
class Run:
    """What an audit asks of a run: stages that judge at once."""

    config: object = None

    @property
    def stages(self):
        return self

    launch = type("Launch", (), {"seed": 0})

    def judged(self, responses, judge, label):
        from bedside.judges import prompting

        return prompting.join(responses, prompting.judge(responses, judge))


def test_a_comfort_judge_is_audited_against_peoples_ratings(tmp_path):
    rows = [{"prompt": f"p{i}?", "response": "x" * max(1, 2 * (i % 5)), "anna": i % 5} for i in range(60)]
    rows[-1]["response"] = "x" * 9
    path = str(write(tmp_path / "ratings.csv", rows))
    config = type("Config", (), {"gates": GatesConfig()})
    audit = audit_scale(Run(config), {"length": ByLength()}, RatingFile(path, ("anna",)), 500)
    (pair,) = audit.pairs
    assert (pair.first, pair.second) == ("anna", "length")
    assert pair.measure("kappa_quadratic").value > 0.9
    assert (pair.measure("unreadable").value, pair.measure("unreadable").n) == (1 / 60, 60)
    fewer = audit_scale(Run(config), {"length": ByLength()}, RatingFile(path, ("anna",)), 20)
    assert fewer.pairs[0].measure("unreadable").n == 20


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--label", "a", "--label", "b"], "reads columns of ratings; give the file"),
        (["r.csv", "--label", "a", "--adversarial"], "leave out --adversarial"),
        (["r.csv", "--label", "a", "--judge", "keyword"], "gives a stance and no score"),
        (["r.csv", "--label", "a", "--score", "b=much"], "--score b=much: the greatest score is a number above 0"),
    ],
)
def test_what_is_no_scale_audit_says_what_to_do(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "r.csv", [row | {"prompt": "How?", "response": "So."} for row in rated(a=0.5, b=0.5)])
    assert bedside("audit", *words, "--scale", "ordinal", monkeypatch=monkeypatch) == 1
    assert says in capsys.readouterr().err
    assert bedside("audit", "r.csv", "--label", "a", "--levels", "0,1", monkeypatch=monkeypatch) == 1
    assert "add --scale ordinal" in capsys.readouterr().err
