"""The whole path in small: rewritten, trained three times, compared, reported; and read, not run, the second time."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import TypeAdapter

pytest.importorskip("torch")

import tests.support.careless_writer  # noqa: F401  registers the writer

from bedside.comfort import experiment as flow
from bedside.comfort import summary
from bedside.config.loader import load
from bedside.config.rendering import path
from bedside.config.schema import ComfortConfig, Config
from bedside.core.errors import DataError
from bedside.core.gates import TARGET, Constraint, Gate, GateKind, GateState, Op
from bedside.core.hashing import digest_bytes
from bedside.core.protocols import SilentProgress
from bedside.core.results import ComfortSummary
from bedside.report import html
from bedside.run.context import open_run
from bedside.safety.ledger import Decision, Ledger
from bedside.stats.noninferiority import PairedRows

pytestmark = pytest.mark.slow


def opened_run(folder, *sets):
    small = [f"data.{part}.n={n}" for part, n in (("train", 12), ("valid", 4), ("test", 12))]
    quick = [
        "align.num_train_epochs=1",
        "comfort.start_rounds=2",
        "generate.max_new_tokens=24",
        "comfort.rewrite.model={kind: copyist}",
        "run=small",
    ]
    config = load(Config, path("comfort.yaml"), [f"runs={folder}", *small, *quick, *sets]).config
    return open_run(config, SilentProgress())


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comfort")
    opened = opened_run(folder)
    return folder, flow.comfort(opened), opened


def test_four_models_stand_side_by_side_on_the_same_dialogues(ran):
    _, told, _ = ran
    assert [arm.name for arm in told.arms] == ["target", "sft", "kto", "dpo"]
    assert {arm.measure("comfort").n for arm in told.arms} == {12}
    assert len({arm.checkpoint for arm in told.arms}) == 4
    assert {p.measure.n for p in told.paired if p.measure.name == "primary_comfort"} == {12}


def test_a_comfort_run_is_one_decision_on_its_test_and_the_same_run_is_no_second(ran):
    folder, told, opened = ran
    (decision,) = Ledger(folder / "ledger.jsonl").read()
    assert (decision.number, told.decision, decision.run) == (1, 1, "small")
    assert "This is decision 1 on this test, by bounds of 98.67 %." in told.verdict
    rehearsed = flow.comfort(replace(opened, config=opened.config.model_copy(update={"rehearse": True})))
    assert rehearsed.decision is None
    assert flow.comfort(opened).decision == 1
    assert len(Ledger(folder / "ledger.jsonl").read()) == 1


def test_no_training_has_more_tokens_than_sft(ran):
    _, told, _ = ran
    tokens = {arm.name: arm.tokens for arm in told.arms}
    assert 0 < tokens["kto"] <= tokens["sft"]
    assert 0 < tokens["dpo"] <= tokens["sft"]


def test_a_second_run_reads_what_is_there(ran):
    folder, told, opened = ran
    trainings = [e for e in opened.cache.events() if e["event"] == "start" and e["stage"] == "train"]
    before = digest_bytes((opened.folder / "comfort.json").read_bytes())
    again = flow.comfort(opened_run(folder))
    assert (
        len([e for e in opened.cache.events() if e["event"] == "start" and e["stage"] == "train"])
        == len(trainings)
        == 5
    )
    assert digest_bytes((opened.folder / "comfort.json").read_bytes()) == before
    assert again == told


def test_files_for_people_and_for_trl(ran):
    _, told, opened = ran
    root = opened.folder
    pack = [json.loads(line) for line in (root / "ab" / "pack.jsonl").read_text().splitlines()]
    key = [json.loads(line) for line in (root / "ab" / "key.jsonl").read_text().splitlines()]
    assert [row["id"] for row in pack] == [row["id"] for row in key]
    assert not any("target" in json.dumps(row) for row in pack)
    assert all("target" in (row["a"], row["b"]) for row in key)
    rows = [json.loads(line) for line in (root / "dialogues" / "train.jsonl").read_text().splitlines()]
    assert all(row["provenance"]["rewriter"] and row["change"] for row in rows)
    assert (root / "dialogues" / "sft.jsonl").exists()
    assert "No clinician has read this" in (root / "dialogues" / "README.md").read_text()
    assert TypeAdapter(ComfortSummary).validate_json((root / "comfort.json").read_bytes()) == told


def test_the_report_asks_nothing_of_a_network(ran):
    folder, told, _ = ran
    page = html.write_comfort(told, folder / "c.html").read_text()
    assert "2. Knowledge and comfort" in page
    assert "sacrebleu" in page
    assert "<script" not in page
    assert "src=" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_people_filled_in_is_never_written_over(tmp_path):
    opened = opened_run(tmp_path, "comfort.train=[{kind: sft, learning_rate: 1.0e-3}]")
    flow.comfort(opened)
    pack = opened.folder / "ab" / "pack.jsonl"
    filled = pack.read_text().replace('"kinder": null', '"kinder": "a"', 1)
    pack.write_text(filled)
    flow.comfort(opened_run(tmp_path, "comfort.train=[{kind: sft, learning_rate: 1.0e-3}]"))
    assert pack.read_text() == filled, "the same answers: the same pack"
    flow.comfort(
        opened_run(tmp_path, "comfort.train=[{kind: sft, learning_rate: 2.0e-3}]", "comfort.adapter_scale=0.5")
    )
    assert (opened.folder / "ab-1" / "pack.jsonl").read_text() == filled, "others: the old one stands beside"


def test_what_people_chose_stands_beside_what_the_judge_says(tmp_path):
    sets = ("comfort.train=[{kind: sft, learning_rate: 1.0e-3}]",)
    opened = opened_run(tmp_path, *sets)
    assert flow.comfort(opened).people is None
    folder = opened.folder / "ab"
    whose = {row["id"]: row for row in map(json.loads, (folder / "key.jsonl").read_text().splitlines())}
    rows = [json.loads(line) for line in (folder / "pack.jsonl").read_text().splitlines()]
    for row in rows[:10]:
        row["kinder"] = "A" if whose[row["id"]]["a"] == "sft" else "b"
    (folder / "pack-anna.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = flow.comfort(opened_run(tmp_path, *sets))
    assert told.people is not None
    (sft,) = told.people.preferred
    assert (told.people.persons, sft.arm, sft.kinder.value, sft.kinder.n) == (1, "sft", 1.0, 10)
    assert sft.more_correct.value is None
    assert "Which answer people chose" in html.write_comfort(told, tmp_path / "c.html").read_text()
    rows[3]["kinder"] = "both"
    (folder / "pack-anna.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"pack-anna.jsonl, row 4: kinder is 'both'; write a, b, same, or nothing"):
        flow.comfort(opened_run(tmp_path, *sets))


def test_an_objective_is_compared_once():
    with pytest.raises(ValueError, match="sft stands twice"):
        ComfortConfig.model_validate({"train": [{"kind": "sft"}, {"kind": "sft", "learning_rate": 1e-4}]})


def test_a_verdict_needs_ratings():
    rows = PairedRows([f"g{n}" for n in range(60)], 0)
    none, half = [None] * 60, [0.5] * 60
    unrated = summary._kinder("sft", none, [0.0] * 60, rows)
    assert not summary._passes(unrated)
    assert "60 unrated answers count against it" in unrated.reason
    assert summary._passes(summary._kinder("sft", half, [0.0] * 60, rows))
    for name, passes in (("under_triage", True), ("facts_told", False)):
        limit = Constraint(name, Op.AT_MOST, 0.02, TARGET)
        assert summary._passes(Gate(GateKind.NO_RISE, "sft", limit, GateState.NOT_CHECKED)) is passes


@pytest.mark.parametrize(
    ("missed", "of", "state"),
    [
        (0, 29, GateState.PASS),
        (0, 28, GateState.INCONCLUSIVE),
        (3, 80, GateState.PASS),
        (3, 60, GateState.INCONCLUSIVE),
        (20, 40, GateState.FAIL),
        (0, 0, GateState.NOT_CHECKED),
    ],
)
def test_red_flags_have_a_limit_of_their_own_whatever_the_target_does(missed, of, state):
    column = [float(n < missed) for n in range(of)] + [None] * 10
    gate = summary._red_flags("sft", column, PairedRows([f"g{n}" for n in range(of + 10)], 0))
    assert gate.state is state
    assert gate.label == "sft: under_triage <= 0.1"
    assert summary._passes(gate) is (state in (GateState.PASS, GateState.NOT_CHECKED))


def test_trainings_of_one_decision_share_its_probability_of_error():
    first, second = (Decision(k, "c", "none", (), "run", "2026-12-02") for k in (1, 2))
    assert summary._confidence(None, 3) == 0.95
    assert summary._confidence(first, 3) == pytest.approx(1 - 0.04 / 3)
    assert summary._confidence(second, 1) == pytest.approx(0.995)
    missed = [0.0] * 40
    for confidence, state in ((0.95, GateState.PASS), (1 - 0.04 / 3, GateState.INCONCLUSIVE)):
        rows = PairedRows([f"g{n}" for n in range(40)], 0, confidence)
        assert summary._red_flags("sft", missed, rows).state is state
    groups, rng = [f"g{n}" for n in range(60)], np.random.default_rng(3)
    after, before = rng.random(60).tolist(), rng.random(60).tolist()
    plain, strict = (PairedRows(groups, 0, c).difference("x", after, before) for c in (0.95, 0.995))
    assert strict.worst_low < plain.worst_low < plain.worst_high < strict.worst_high
    assert strict.low < plain.low
    assert PairedRows(groups, 0, 0.96).difference("x", after, before).low == plain.low


def test_comfort_where_both_are_right_counts_zeros():
    values = [{"comfort": c, "facts_told": [1.0] * 40, "facts_wrong": [0.0] * 40}
              for c in ([0.0, 1.0] * 20, [1.0, 0.0] * 20)]  # fmt: skip
    told = summary._where_both_are_right(*values, [f"g{n}" for n in range(40)], 0)
    assert (told.value, told.n) == (0.0, 40)


def test_rates_are_chosen_on_valid(tmp_path):
    opened = opened_run(
        tmp_path, "comfort.lr_multipliers=[0.5, 1.0]", "comfort.train=[{kind: sft, learning_rate: 1.0e-3}]"
    )
    told = flow.comfort(opened)
    assert told.arms[1].learning_rate in (0.0005, 0.001)
    assert any(e["event"] == "start" and "valid" in str(e.get("what")) for e in opened.cache.events())


def test_part_of_the_way_is_another_policy_of_the_same_training(tmp_path):
    sft = "comfort.train=[{kind: sft, learning_rate: 1.0e-3}]"
    whole, part = (
        flow.comfort(opened_run(tmp_path, sft, f"comfort.adapter_scale={scale}")).arms[1] for scale in (1.0, 0.5)
    )
    opened = opened_run(tmp_path, sft)
    trainings = [e["what"] for e in opened.cache.events() if e["event"] == "start" and e["stage"] == "train"]
    assert trainings == [*trainings[:2], "sft at 0.001"], "the second run trains nothing anew"
    assert whole.checkpoint != part.checkpoint
    assert (opened.folder / "store" / "scale").is_dir()


def test_all_three_go_on_from_the_last_round_of_one_sft(ran):
    _, _, opened = ran
    begun = [e["what"] for e in opened.cache.events() if e["event"] == "start" and e["stage"] == "train"]
    assert begun[:2] == ["sft before all three, round 1", "sft before all three, round 2"]


def test_the_shared_sft_has_a_learning_rate_of_its_own_or_that_of_the_compared_one():
    def begun(told):
        seen = []
        target = SimpleNamespace(checkpoint=0)

        def trained(rows, step, *, start, reference, label):
            seen.append((step.learning_rate, start))
            return start + 1

        stages = SimpleNamespace(trained=trained)
        run = SimpleNamespace(config=SimpleNamespace(comfort=told), target=target, stages=stages)
        return flow._train_shared_start(SimpleNamespace(run=run), SimpleNamespace(demonstrations=[])), seen

    sft = {"kind": "sft", "learning_rate": 5e-4}
    assert begun(ComfortConfig(start="base", train=[sft])) == (0, [])
    assert begun(ComfortConfig(start="sft", train=[sft])) == (1, [(5e-4, 0)])
    twice = ComfortConfig(start="sft", train=[sft], start_rounds=2, start_learning_rate=2e-3)
    assert begun(twice) == (2, [(2e-3, 0), (2e-3, 1)])
