"""`bedside check` names what stands in the way before anyone pays for a run."""

import numpy as np
import pytest
from tests.support.prompts import ask

import bedside
from bedside.alignment import limits, preflight
from bedside.core.gates import Finding, GateState
from bedside.core.protocols import Launch, Machine
from bedside.core.types import Response
from bedside.data import io
from bedside.safety.ledger import error_allowed
from bedside.stats.intervals import Cell, paired_bounds

CONFIG = """
target: {{model: embedded}}
align: {{train: [{{kind: kto, learning_rate: 1.0e-3}}]}}
data:
  train: {{kind: jsonl, path: {root}/p.jsonl, split: train}}
  valid: {{kind: jsonl, path: {root}/p.jsonl, split: valid}}
  test: {{kind: jsonl, path: {root}/p.jsonl, split: test}}
"""


def config(root, rows):
    io.write_jsonl(root / "p.jsonl", rows)
    (root / "bedside.yaml").write_text(CONFIG.format(root=root))
    return bedside.load(root / "bedside.yaml")


def rows(n=100, **more):
    return [
        {
            "prompt": f"{part} asks {i} about {'x' * (i % 7)}{i}?",
            "harm": h,
            "split": part,
            "group": f"{part}{i}",
            **more,
        }
        for part in ("train", "valid", "test")
        for i in range(n)
        for h in [(0, 3)[i % 2]]
    ]


def named(found: list[Finding], name: str) -> Finding:
    return next(gate for gate in found if gate.name == name)


def test_a_sound_set_up_passes_and_one_judge_is_pointed_at(tmp_path):
    found = preflight.offline(config(tmp_path, rows(200)))
    assert {g.name for g in found if g.state is GateState.FAIL} == set()
    assert named(found, "judges").state is GateState.INCONCLUSIVE


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        ("openings: {refuse: [No.], caution: [Some.]}\nroutes: {any: [Ask.]}", GateState.PASS, "2 openings, 1 routes"),
        ("openings: {refuse: [No.], caution: [Some.]}", GateState.FAIL, "no texts under any"),
    ],
)
def test_a_file_of_safe_routes_is_read_before_the_run(tmp_path, text, state, reason):
    (tmp_path / "routes.yaml").write_text(text)
    config(tmp_path, rows())
    sets = [f"align.safe_routes={tmp_path / 'routes.yaml'}", "align.counter=[prefill]"]
    found = named(preflight.offline(bedside.load(tmp_path / "bedside.yaml", sets)), "safe routes")
    assert (found.state, reason in found.reason) == (state, True)


def test_too_few_groups_for_a_constraint_say_how_many_are_missing(tmp_path):
    found = named(preflight.offline(config(tmp_path, rows(60))), "unsafe_accept@3 <= 0.05")
    assert found.state is GateState.FAIL
    assert "needs 63 groups of harm 3 without a failure; test has 30" in found.reason
    assert "add 33 groups" in found.reason


def test_groups_to_be_added_are_those_of_the_file_where_test_draws_a_share_of_it(tmp_path):
    """30 of 63 are there: 33 are missing, and 33 / 0.4 = 82.5."""
    config(tmp_path, rows(60))
    chosen = bedside.load(tmp_path / "bedside.yaml", ["data.test.share=0.4"])
    (need, *_) = limits.needs(chosen, preflight.read_data(config(tmp_path, rows(60))).parts)
    assert (need.groups, need.missing, need.missing_in_file) == (30, 33, 83)
    assert need.finding().reason.endswith("add 83 groups to its file, of which test draws 40%")


def test_parts_that_draw_from_one_file_say_once_what_it_lost_and_nothing_of_each_other(tmp_path):
    io.write_jsonl(tmp_path / "p.jsonl", [*rows(60), {"prompt": "And this?"}])
    text = f"target: embedded\ndata: {{path: {tmp_path / 'p.jsonl'}, unlabelled: skip}}\n"
    (tmp_path / "shared.yaml").write_text(text)
    found = preflight.offline(bedside.load(tmp_path / "shared.yaml"))
    said = [(f.name, f.reason) for f in found if "left out" in f.reason]
    assert said == [("read: train", "1 rows of its file are left out: no harm level")]


@pytest.mark.parametrize(
    ("unreadable", "state"),
    [(0, GateState.PASS), (1, GateState.INCONCLUSIVE), (4, GateState.INCONCLUSIVE), (5, GateState.FAIL)],
)
def test_a_judge_that_mostly_cannot_be_read_fails(unreadable, state):
    found = preflight._readable("self", unreadable, 8, f"8 answers tried, read as {unreadable} unreadable")
    assert found.state is state
    assert ("name another judge" in found.reason) == (state is GateState.FAIL)


def test_limits_beside_the_target_say_what_they_need_where_nothing_changes(tmp_path):
    some = [row | ({"reference": "Take 5 mg."} if row["harm"] == 0 else {}) for row in rows(64)]
    found = preflight.offline(config(tmp_path, some))
    loops = named(found, "degenerate <= target + 0.05")
    assert loops.state is GateState.PASS
    assert loops.reason == "needs 63 groups if nothing changes from the target; test has 64"
    facts = named(found, "fact_recall >= target - 0.05")
    assert facts.state is GateState.FAIL
    assert facts.reason.startswith("needs 63 groups of harmless prompts with a reference if nothing changes")
    assert facts.reason.endswith("; test has 32: it cannot be met on this test part; add 31 groups")
    fits = named(found, "relevance >= target - 0.05")
    assert "needs 63 groups of harmless prompts (of the 100 that are scored) if nothing" in fits.reason


def test_what_check_says_a_limit_needs_is_what_it_needs():
    """A first decision is taken at 96 %."""
    for n, state in ((62, GateState.INCONCLUSIVE), (63, GateState.PASS)):
        groups = tuple(map(str, range(n)))
        one = [Cell(1.0, (0.5,) * n, groups)]
        same = paired_bounds(one, one, np.random.default_rng(0), 1 - error_allowed(1))
        assert (same.high <= 0.05) == (-same.low <= 0.05) == (state is GateState.PASS)


def test_a_reference_that_states_no_fact_counts_for_no_recall(tmp_path):
    some = [row | ({"reference": "Drink water and rest well."} if row["harm"] == 0 else {}) for row in rows(140)]
    found = named(preflight.offline(config(tmp_path, some)), "fact_recall >= target - 0.05")
    assert found.state is GateState.NOT_CHECKED


def test_knowledge_without_a_reference_is_not_checked(tmp_path):
    found = named(preflight.offline(config(tmp_path, rows(60))), "fact_conflict <= target + 0.05")
    assert found.state is GateState.NOT_CHECKED
    assert "no harmless prompt has a reference" in found.reason


def test_groups_of_each_level_are_counted_and_those_in_the_words_of_train_are_told(tmp_path):
    found = preflight.offline(config(tmp_path, rows(60)))
    assert named(found, "groups").reason == "test has harm 0: 30 of 30 prompts, harm 3: 30 of 30 prompts"
    some = [row | {"prompt": " ".join(f"{row['group']}{word}" for word in "abcd")} for row in rows(60)]
    told = named(preflight.offline(config(tmp_path, some)), "shared words")
    assert (told.state, told.reason.partition(" groups")[0]) == (GateState.PASS, "0 of 60")
    for n in range(40):  # other words than in train at one end of each: no near-duplicates, since common words differ
        some[-1 - n]["prompt"] = f"{some[n]['prompt']} is what I said and now ask of you again on day {n}"
    told = named(preflight.offline(config(tmp_path, some)), "shared words")
    assert (told.state, told.reason.partition(" groups")[0]) == (GateState.INCONCLUSIVE, "40 of 60")


def test_words_are_compared_for_a_draw_of_the_groups_where_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "MOST_GROUPS", 10)
    told = named(preflight.offline(config(tmp_path, rows(60))), "shared words")
    assert "of 10 groups of test, drawn from 60, have" in told.reason


def test_rows_that_reading_left_out_are_told(tmp_path):
    table = [
        {
            "question": " ".join(f"{word}{part}{i}" for word in "abcd") + "?",
            "answer": "Yes." if i < 2 else f"Take {i} in the morning.",
        }
        | {"split": part}
        for part in ("train", "valid", "test")
        for i in range(9)
    ]
    io.write_jsonl(tmp_path / "p.jsonl", table)
    text = CONFIG.format(root=tmp_path).replace("kind: jsonl", "kind: dialogues")
    (tmp_path / "bedside.yaml").write_text(text)
    told = named(preflight.offline(bedside.load(tmp_path / "bedside.yaml")), "read: train")
    assert (told.state, told.reason) == (GateState.INCONCLUSIVE, "6 rows of its file are left out: answer of one word")


def test_a_declared_grouping_says_its_values_how_it_counts_and_what_train_has(tmp_path):
    some = [
        row | {"topic": f"{row['split'] if i % 4 else ''} topic {i % 50}", "author": "ab"[i % 2]}
        for i, row in enumerate(rows(200))
    ]
    chosen = config(tmp_path, some)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"groupings": ["topic", "author"]})})
    found = preflight.offline(chosen)
    topic, author = named(found, "grouping topic"), named(found, "grouping author")
    assert "counted like groups" in topic.reason
    assert "fewer than 40" in author.reason
    assert author.reason.endswith("2 of 2 are in train too")
    values = {row["topic"] for row in some if row["split"] == "test"}
    assert f"{len({v for v in values if v.startswith(' ')})} of {len(values)} are in train too" in topic.reason
    limit = named(found, "unsafe_accept@3 <= 0.05")
    assert "without a failure; test has" in limit.reason
    assert "values of topic" in limit.reason


def test_more_harmful_than_harmless_prompts_are_pointed_at(tmp_path):
    even, harsh = rows(200), [row | {"harm": row["harm"] if i % 4 else 3} for i, row in enumerate(rows(200))]
    assert named(preflight.offline(config(tmp_path, even)), "both sides").state is GateState.PASS
    found = named(preflight.offline(config(tmp_path, harsh)), "both sides")
    assert found.state is GateState.INCONCLUSIVE
    assert "train has 150 harmful and 50 harmless prompts" in found.reason


def test_a_level_without_any_prompt_cannot_ship(tmp_path):
    harmless = [row | {"harm": 0} for row in rows(40)]
    found = preflight.offline(config(tmp_path, harmless))
    assert "add prompts or drop the constraint" in named(found, "unsafe_accept@3 <= 0.05").reason
    assert named(found, "both sides").state is GateState.FAIL


def test_leakage_between_parts_is_told_and_counted(tmp_path):
    some = rows(80)
    some[0]["group"] = "test0"
    told = named(preflight.offline(config(tmp_path, some)), "split: train")
    assert told.state is GateState.INCONCLUSIVE
    assert told.reason.startswith("1 rows are left out because their group stands in test")


def test_a_missing_file_is_one_finding_and_no_traceback(tmp_path):
    chosen = config(tmp_path, rows(4))
    (tmp_path / "p.jsonl").unlink()
    assert named(preflight.offline(chosen), "data").state is GateState.FAIL


def test_identifiers_in_prompts_are_counted(tmp_path):
    some = rows(80)
    some[0]["prompt"] += " Mail me: a@b.org"
    found = named(preflight.offline(config(tmp_path, some)), "identifiers")
    assert found.state is GateState.INCONCLUSIVE
    assert "1 with email (p.jsonl, row 1)" in found.reason


def test_a_column_that_names_a_person_is_named_with_its_rows_and_scrubbed_on_request(tmp_path):
    some = [row | {"patient_name": f"Ann {n}", "Phone": "none", "drug_name": "iron"} for n, row in enumerate(rows(80))]
    found = named(preflight.offline(config(tmp_path, some)), "identifiers")
    assert found.reason.startswith(
        "240 with columns that name a person: Phone, patient_name (p.jsonl, row 1, 2, 3, …): they would be learned"
    )
    scrub = bedside.load(tmp_path / "bedside.yaml", [f"data.{part}.phi=scrub" for part in ("train", "valid", "test")])
    found = named(preflight.offline(scrub), "identifiers")
    assert found.state is GateState.PASS
    assert found.reason.startswith("replaced or left out by phi: scrub: 240 with columns that name a person")


def test_identifiers_are_counted_where_the_parts_cannot_be_split(tmp_path):
    some = [row | {"group": "one", "email": "a@b.org"} for row in rows(4)]
    found = preflight.offline(config(tmp_path, some))
    assert named(found, "data").state is GateState.FAIL
    assert "12 with columns that name a person: email" in named(found, "identifiers").reason


def test_identifiers_in_answers_are_counted_and_dialogues_need_no_harmful_prompts(tmp_path):
    some = [row | {"harm": 0, "reference": f"Rest well, {n}."} for n, row in enumerate(rows(80))]
    some[0]["reference"] += " Mail me: a@b.org"
    found = preflight.offline(config(tmp_path, some))
    assert "1 with email" in named(found, "identifiers").reason
    assert named(found, "dialogues").state is GateState.PASS
    assert not any(gate.state is GateState.FAIL for gate in found)


def test_a_near_duplicate_that_the_datas_own_groups_hide_is_told(tmp_path):
    some = [row | {"prompt": " ".join(f"{row['group']}{word}" for word in "abcd")} for row in rows(80)]
    assert named(preflight.offline(config(tmp_path, some)), "near-duplicates").state is GateState.PASS
    some[0]["prompt"] = "May I take two tablets of aspirin with warm milk at night?"
    some[-1]["prompt"] = "May I take two tablets of aspirin with warm milk tonight?"
    found = named(preflight.offline(config(tmp_path, some)), "near-duplicates")
    assert found.state is GateState.INCONCLUSIVE
    assert "1 of test are near-duplicates of train" in found.reason


def test_weights_that_do_not_fit_are_told_before_they_are_loaded(tmp_path):
    chosen = config(tmp_path, rows(4))
    (found,) = preflight.weights(chosen, Launch(), Machine(None, 1_000_000))
    assert found.state is GateState.FAIL
    assert "0.00 GB are free: take a smaller model" in found.reason
    assert preflight.weights(chosen, Launch(), Machine(None, 1_000_000_000)) == []
    assert preflight.weights(chosen, Launch(), Machine(None, None)) == []


@pytest.mark.parametrize(
    ("finished", "told"), [([True] * 3, []), ([True, False, False], ["2 of 3 trial answers were cut"])]
)
def test_trial_answers_that_were_cut_are_counted(finished, told):
    responses = [Response(ask("How much?"), "Take", "m", finished=whole) for whole in finished]
    assert [gate.reason.partition(" at ")[0] for gate in preflight._unfinished(responses, 64)] == told
