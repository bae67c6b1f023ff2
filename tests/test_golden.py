"""What decides figures, as literal values: ids, draws, splits and orders.

Another value here is another experiment: prompts would stand in other parts, batches come in another order, answers
be drawn from another seed, and no figure of an earlier run could be compared with one of a later run. A digest is
taken over field names, so a field of ``Message`` or ``Sampling`` that is renamed, added or removed changes draws.
"""

import dataclasses
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bedside.clinic.dialogues import ClinicDialogues
from bedside.clinic.prompts import Clinic
from bedside.comfort import emotions, human_ab, joint_objective
from bedside.config.loader import dump, load
from bedside.config.rendering import path, source
from bedside.config.schema import AlignConfig, Config, TrainingStep
from bedside.core.hashing import digest, digest_bytes, seed_from
from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint, JudgedResponse, Message, Prompt, Response, Sampling, Stance, Verdict
from bedside.data import splits
from bedside.judge_audit import agreement_report, finetune
from bedside.judges.composite import NoisyJudge
from bedside.models import hf, model_files
from bedside.run.context import _training_spec
from bedside.training import decoding, train

TURNS = (Message("system", "Be kind."), Message("user", "Darf ich Ibuprofen nehmen? ☕"))
PROMPT = Prompt(TURNS, harm=2, group="g", source="s", metadata={"age": "old"}, reference="Yes.")
WARM = Sampling(max_new_tokens=64, temperature=0.7, top_p=0.9, seed=3)
WORDS = ("aspirin", "insulin", "warfarin", "codeine", "digoxin", "lithium")
PROMPTS = [
    Prompt((Message("user", f"{how} {word}?"),), harm=harm, group=f"about {word}", style="direct")
    for word in WORDS
    for how, harm in (("What is the safe dose of", 0), ("How much would kill with", 3))
]
ANSWERS = [Response(prompt, f"Answer {n}.", "b2-checkpoint") for n, prompt in enumerate(PROMPTS)]


def names(value: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(value))


def where(answers: list[Response]) -> list[int]:
    return [ANSWERS.index(answer) for answer in answers]


def test_a_message_has_a_role_and_a_text_in_this_order():
    assert names(Message) == ("role", "text")


def test_a_sampling_has_these_four_fields_in_this_order():
    assert names(Sampling) == ("max_new_tokens", "temperature", "top_p", "seed")


def test_a_stance_is_one_of_three_words_in_this_order():
    assert [stance.value for stance in Stance] == ["accept", "caution", "refuse"]


def test_equal_content_has_the_same_name_as_ever():
    assert digest() == "b2-f1b4046e29589ef06138"
    assert digest_bytes(b"bedside") == "b2-64af98ff1b778f70bd38"
    assert digest(0, "a", 1.5, None, True, ("x",), {"b": Stance.CAUTION, "a": 1}) == "b2-11d1fec68c20bf4fbaf9"
    assert digest(WARM) == "b2-fca9c29899af8177db4b"


def test_a_draw_is_the_same_number_as_ever():
    assert seed_from(0, "a", 1.5, None, True, ["x"], {"k": Stance.CAUTION}) == 1412635281


def test_a_prompt_is_named_by_its_turns_and_by_nothing_else():
    assert digest(TURNS) == PROMPT.id == Prompt(TURNS).id == "b2-9977f42b3f20894e1829"
    assert Prompt((Message("user", "How much is safe?"),)).id == "b2-783da8d31c3d33d25fae"


def test_a_response_is_named_by_prompt_checkpoint_sampling_sample_steering_and_text():
    assert Response(PROMPT, "Yes.", "b2-c").id == "b2-8711e234cd78da9044d0"
    assert Response(PROMPT, "Yes.", "b2-c", WARM, sample=1).id == "b2-53893f56332533f1a8d6"
    assert Response(PROMPT, "No.", "b2-c", steered=Stance.REFUSE).id == "b2-af5703a5dcfeec3b2e62"


def test_a_checkpoint_is_named_by_base_and_adapter_and_by_nothing_else():
    assert Checkpoint("b2-base").id == "b2-c2e447bd92a152550075"
    assert Checkpoint("b2-base", "b2-adapter").id == "b2-2498cf1989f41a630e6f"
    assert Checkpoint("b2-base", "b2-adapter", "path", "kto", "rows", "other").id == "b2-2498cf1989f41a630e6f"


def test_the_embedded_model_has_the_name_its_files_give_it():
    folder = hf.resolve("embedded", None)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert model_files.digest_model(folder, template) == "b2-b67afb94176b02282b2a"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("clinic.yaml", "b2-fe535d4fe0725f2185c7"),
        ("adversarial.yaml", "b2-c9ee04b7e75416c86d13"),
        ("comfort.jinja", "b2-63a5483f558524e277ef"),
        ("emotion.jinja", "b2-9be237692ae18fdc8a80"),
        ("rewrite_answer.jinja", "b2-565a27443996e746d209"),
        ("rewrite_question.jinja", "b2-dffc4682bc31eb12e991"),
        ("rewrite_revise.jinja", "b2-99f87748bf5ec1d44427"),
        ("stance.jinja", "b2-a1babaf9db29a623318b"),
        ("steer.jinja", "b2-f39aeede26ae35e4d43e"),
    ],
)
def test_models_are_asked_in_the_same_words_as_ever(template, name):
    assert digest_bytes(source(template).encode()) == name


def test_the_split_puts_each_group_where_it_always_did():
    parts = splits.parts(
        train=splits.PartSource(PROMPTS),
        valid=splits.PartSource(PROMPTS, 0.2),
        test=splits.PartSource(PROMPTS, 0.3),
        seed=7,
    )
    found = {name: list(dict.fromkeys(p.group for p in rows)) for name, rows in parts.named.items()}
    assert found == {
        "train": ["about codeine", "about digoxin", "about lithium"],
        "valid": ["about warfarin"],
        "test": ["about aspirin", "about insulin"],
    }


def test_a_limit_keeps_the_first_rows_and_some_of_every_harm_level():
    by_level = sorted(PROMPTS[4:], key=lambda prompt: prompt.level)
    drawn_from = {"train": splits.PartSource(PROMPTS[:2]), "valid": splits.PartSource(PROMPTS[2:4])}
    kept = splits.parts(**drawn_from, test=splits.PartSource(by_level, limit=5), seed=7).test
    assert [(prompt.group, prompt.harm) for prompt in kept] == [
        ("about warfarin", 0),
        ("about codeine", 0),
        ("about digoxin", 0),
        ("about lithium", 0),
        ("about warfarin", 3),
    ]


def test_prompts_without_a_group_are_grouped_by_their_words_and_named_by_their_smallest_id():
    twins = [Prompt((Message("user", text),)) for text in ("May I take one or two?", "May I take two or one?")]
    assert [prompt.group for prompt in splits.group(twins)] == ["nd:b2-6dd8288785fb0134f2ee"] * 2


def test_answers_are_drawn_from_the_seed_that_sampling_and_token_ids_give(monkeypatch):
    asked = []
    monkeypatch.setattr(
        decoding, "decode", lambda model, prompts, limits, stops, draw: asked.append(draw) or [[1], [1]]
    )
    renderer = SimpleNamespace(
        prompt_ids=lambda turns: [len(turn.text) for turn in turns], stop_ids={1}, text=lambda ids: ""
    )
    model = hf.LocalModel(Checkpoint("b2-base"), renderer, SimpleNamespace(with_adapter=lambda folder: None), None)
    model.generate([TURNS, TURNS[1:]], WARM)
    assert asked == [decoding.TokenSampler(0.7, 0.9, 3215105065)]


def test_the_clinic_tells_the_same_prompts_as_ever():
    found = {
        part: [prompt.id for prompt in Clinic(part=part, n=4, seed=5).open(Launch()).read()]
        for part in ("train", "valid", "test")
    }
    assert found == {
        "train": [
            "b2-cc443e5cf9534673d604",
            "b2-83e0248dee521aaf47c0",
            "b2-a541960d55c6fcd4c067",
            "b2-68ef88e160fd4d20b0e7",
        ],
        "valid": [
            "b2-cae8809d2151e70b6720",
            "b2-ce3c588d139a3cd674d5",
            "b2-66a3abd06eb768a4f46b",
            "b2-e9ccb331d3c3e9de1bd9",
        ],
        "test": [
            "b2-57a6f3d93d9c274cfa0e",
            "b2-b8138471af6eb0260f02",
            "b2-d723d3372ad8d47a2561",
            "b2-ed004ab6a4742f264806",
        ],
    }


def test_the_clinic_calls_its_groups_as_ever():
    (first, *_) = Clinic(part="train", n=4, seed=5).open(Launch()).read()
    assert (first.group, first.harm, first.style, first.principle) == (
        "b2-d024ca1484759164fb30",
        0,
        "direct",
        "community",
    )


def test_the_clinics_dialogues_are_the_same_as_ever():
    rows = ClinicDialogues(part="train", n=3, seed=5).open(Launch()).read()
    assert [row.id for row in rows] == ["b2-eb61d53fd6b085f2fc1e", "b2-cc2c2dbd95de61b543a3", "b2-20e6c457f6e30a98fd84"]
    assert digest([row.reference for row in rows]) == "b2-169b999357b85f5d89a6"


def test_training_batches_come_in_the_same_order_as_ever():
    rows = [train.EncodedRow((n,), ((n,),), group=f"g{n // 2}") for n in range(10)]
    planned = train.plan(rows, batch_size=4, epochs=2, seed=3, mismatch=True)
    assert [batch.rows for batch in planned] == [(1, 5, 6, 0), (9, 4, 7, 2), (8, 3), (2, 0, 6, 8), (9, 5, 1, 3), (4, 7)]
    assert [batch.mismatches for batch in planned[:2]] == [
        ((1, 5), (0, 6), (5, 1), (6, 0)),
        ((2, 9), (4, 2), (7, 4), (9, 7)),
    ]


def test_a_cached_dpo_is_found_again_under_the_keys_it_ever_had():
    step = TrainingStep.model_validate({"kind": "dpo"})
    assert _training_spec(step, AlignConfig(), 0)[0] == {"kind": "dpo", "beta": 0.1, "label_smoothing": 0.0}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("kto", "b2-26d0b377909abc4a38a5"), ("dpo", "b2-8fcd3dfad429b8f83e5f"), ("sft", "b2-37478dc4c3ed2f41c1a2")],
)
def test_a_cached_training_is_found_again_under_the_key_it_ever_had(kind, name):
    assert digest(_training_spec(TrainingStep.model_validate({"kind": kind}), AlignConfig(), 0)) == name


@pytest.mark.parametrize("changed", [{"gradient_checkpointing": True}, {"max_length": 40}])
def test_a_later_key_is_another_training_where_it_is_not_at_its_default(changed):
    step = TrainingStep.model_validate({"kind": "dpo"})
    *before, settings, seed = _training_spec(step, AlignConfig(), 0)
    assert _training_spec(step, AlignConfig(**changed), 0) == [*before, settings | changed, seed]


def test_a_step_with_epochs_of_its_own_is_the_training_of_a_config_with_as_many():
    own, three = TrainingStep.model_validate({"kind": "dpo", "num_train_epochs": 3}), AlignConfig(num_train_epochs=3)
    assert _training_spec(own, AlignConfig(), 0) == _training_spec(
        TrainingStep.model_validate({"kind": "dpo"}), three, 0
    )


def test_an_audit_samples_the_same_answers_as_ever():
    assert where(agreement_report.sample(ANSWERS, 5, seed=2)) == [0, 2, 8, 9, 11]


def test_a_judge_in_training_is_held_against_the_same_answers_as_ever():
    rows = [SimpleNamespace(group=p.group, stance=Stance.REFUSE if p.harm else Stance.ACCEPT) for p in PROMPTS]
    _, held = finetune.hold_out(rows, 0.3, seed=2)
    assert list(dict.fromkeys(row.group for row in held)) == ["about aspirin", "about digoxin"]


def test_noise_turns_the_same_verdicts_as_ever():
    plain = SimpleNamespace(name="all", judge=lambda rows: [Verdict(row.id, "all", Stance.REFUSE) for row in rows])
    told = NoisyJudge(plain, 0.5, 1).judge(ANSWERS)
    assert "".join(verdict.stance.value[0] for verdict in told) == "rrrrarcrarcr"


def test_pressure_says_the_same_words_as_ever():
    assert [prompt.id for prompt in joint_objective.add_pressure(PROMPTS[:4], seed=1)] == [
        "b2-5a5c0e4a422c9c161606",
        "b2-456f68b45f6c202d7ba6",
    ]


def test_a_question_is_given_the_same_feeling_as_ever():
    felt = [emotions.choose_feeling(prompt, seed=1) for prompt in PROMPTS[:4]]
    assert [(one.emotion, one.intensity) for one in felt] == [
        ("anger", "moderate"),
        ("loneliness", "moderate"),
        ("anxiety", "strong"),
        ("fear", "moderate"),
    ]


def test_the_same_wrong_answers_are_made_warm_as_ever():
    assert [n for n, prompt in enumerate(PROMPTS) if joint_objective.drawn_to_warm(prompt, "No.")] == [
        0,
        1,
        2,
        3,
        5,
        9,
        11,
    ]


def test_people_see_the_same_answer_first_as_ever():
    rows = [JudgedResponse(answer, Verdict(answer.id, "all", Stance.REFUSE)) for answer in ANSWERS]
    read = {"target": rows[:6], "sft": rows[6:]}
    assert [pair.arms[0] for pair in human_ab.build_pairs(read, seed=1)] == [
        "sft",
        "target",
        "sft",
        "sft",
        "sft",
        "target",
    ]


@pytest.mark.parametrize("name", ["demo.yaml", "demo-tiny.yaml"])
def test_a_runs_own_config_finds_what_the_run_trained(name, tmp_path):
    loaded = load(Config, path(name))
    (tmp_path / "config.yaml").write_text(dump(loaded), encoding="utf-8")
    again = load(Config, tmp_path / "config.yaml").config
    for step, same in zip(loaded.config.align.train, again.align.train, strict=True):
        specs = [_training_spec(one, config.align, 0) for one, config in ((step, loaded.config), (same, again))]
        assert digest(specs[0]) == digest(specs[1])
