"""Not refusing is not helping: loops and shuffled words fail, cut answers do not, with the embedded model's figures."""

import random
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bedside.alignment import answer_quality, summary
from bedside.config import loader as configs
from bedside.config.schema import Config
from bedside.core.gates import GateState
from bedside.core.measures import Measure
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Message, Stance, Verdict
from bedside.run.context import open_run
from bedside.run.experiment import Experiment, read_parts
from bedside.safety import baselines, quality
from bedside.safety.metrics import Safety

pytestmark = pytest.mark.slow
BESIDE_TARGET = [limit for limit in Config.model_fields["select"].get_default(call_default_factory=True).require
                 if limit.relative_to]  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A run, and what its target answers to 60 harmless prompts."""
    part = {"kind": "clinic", "n": 4, "mix": [1, 0, 0, 1]}
    data = {name: {**part, "part": name} for name in ("train", "valid")}
    data["test"] = {"kind": "clinic", "part": "test", "n": 60, "mix": [1, 0, 0, 0]}
    given = {"target": "embedded", "data": data, "runs": str(tmp_path_factory.mktemp("runs"))}
    config = configs.load(Config, None, [], given).config
    run = open_run(config, SilentProgress())
    prompts = [replace(prompt, group=prompt.id) for prompt in read_parts(config, run.launch).test]
    requests = [GenerationRequest(prompt) for prompt in prompts]
    return run, run.stages.answers(requests, run.target.checkpoint, "target").all()


def with_text(run, response, text):
    tokens = tuple(run.target.renderer.tokenizer(text, add_special_tokens=False)["input_ids"])
    return replace(response, text=text, ids=tokens, checkpoint="other")


def states(opened, answers):
    """The state of each limit beside the target."""
    run, target = opened
    after, before = ([JudgedResponse(r, Verdict(r.id, "j", Stance.ACCEPT)) for r in some] for some in (answers, target))
    prompts = [response.prompt for response in target]
    test = summary.HeldOutTest(
        Experiment(run, [], [], None, None, metric=Safety().open(Launch()), constraints=BESIDE_TARGET),
        SimpleNamespace(test=prompts),
        [SimpleNamespace(selected_candidate=SimpleNamespace(name="other"))],
        before,
        after,
        baselines=baselines.constants(prompts),
        values=tuple(answer_quality.values(run, some, target, "x") for some in (after, before)),
        kl=Measure("kl", 0.0, 1),
    )
    return {gate.name: gate.state for gate in summary._release_gates(test)[: len(BESIDE_TARGET)]}


def test_the_target_s_own_answers_keep_every_limit(opened):
    same = [replace(response, checkpoint="other") for response in opened[1]]
    assert states(opened, same) == dict.fromkeys(
        ("degenerate", "improbable", "relevance", "fact_recall", "fact_conflict"), GateState.PASS
    )


def test_shuffled_words_fail(opened):
    run, target = opened
    rng = random.Random(0)
    salad = [with_text(run, r, " ".join(rng.sample(r.text.split(), len(r.text.split())))) for r in target]
    assert states(opened, salad)["improbable"] is GateState.FAIL


def test_loops_fail(opened):
    run, target = opened
    loops = [with_text(run, r, " ".join([*r.text.split()[:3]] * 8)) for r in target]
    assert states(opened, loops)["degenerate"] is GateState.FAIL


def test_answers_to_other_questions_fail(opened):
    run, target = opened
    others = [with_text(run, r, other.text) for r, other in zip(target, [*target[7:], *target[:7]], strict=True)]
    decided = states(opened, others)
    assert decided["relevance"] is GateState.FAIL
    assert decided["fact_conflict"] is GateState.FAIL


def test_answers_that_give_another_amount_fail_on_knowledge(opened):
    run, target = opened
    tenfold = [with_text(run, r, re.sub(r"(\d+)", r"\g<1>0", r.text)) for r in target]
    decided = states(opened, tenfold)
    assert decided["fact_conflict"] is GateState.FAIL
    assert decided["fact_recall"] is GateState.FAIL


def test_empty_answers_are_not_relevant(opened):
    empty = [replace(r, text="", ids=(), checkpoint="other") for r in opened[1]]
    assert states(opened, empty)["relevance"] is GateState.FAIL


def test_answers_that_were_cut_do_not_fail(opened):
    cut = [replace(r, ids=r.ids[: max(8, len(r.ids) * 2 // 3)], finished=False, checkpoint="other") for r in opened[1]]
    decided = states(opened, cut)
    assert decided["degenerate"] is GateState.PASS
    assert decided["improbable"] is GateState.PASS


def test_scored_prompts_are_of_as_many_groups_as_there_are(opened):
    prompt = opened[1][0].prompt
    many = [replace(prompt, messages=(Message("user", str(i)),), group=f"group {i // 4}") for i in range(400)]
    assert len({one.cluster for one in answer_quality.scored_prompts(many)}) == answer_quality.SCORED


def test_what_no_limit_names_takes_no_forward_pass(opened):
    run, target = opened
    select = run.config.select.model_copy(update={"require": []})
    quiet = SimpleNamespace(config=run.config.model_copy(update={"select": select}))  # it has no stages to ask
    rows = [JudgedResponse(response, Verdict(response.id, "j", Stance.ACCEPT)) for response in target]
    assert set(answer_quality.values(quiet, rows, target, "x").by_prompt) == set(quality.OF_TEXT)
    assert answer_quality.kl(quiet, rows, Checkpoint("base", "adapter"), "x") == Measure("kl", None, 0)
