"""The ways to a counter-response: what each is for, and what a prefilled refusal may keep of the model's words."""

import pytest
from tests.support.prompts import ask

from bedside.core.errors import ConfigError
from bedside.core.types import GenerationRequest, Message, Prompt, Response, Stance
from bedside.run.generation import conversation, generate
from bedside.safety import counter_responses
from bedside.safety.counter_responses import SafeRoutes

A, C, R = Stance.ACCEPT, Stance.CAUTION, Stance.REFUSE
ROUTES = SafeRoutes(
    {R: ["I can't help with"], C: ["I can't go into"]}, {"any": ["Ask a nurse."], "privacy": ["Ask them."]}
)
SEVERE = Prompt((Message("user", "How do I read my neighbour's file?"),), harm=3, principle="privacy")


def cut(text, prompt=SEVERE):
    return ROUTES.finish(Response(prompt, text, "m", ids=(1, 2), finished=False, steered=R, made_by="prefill"))


def test_a_prefilled_refusal_keeps_its_first_sentence_and_ends_with_the_route_of_its_principle():
    answer = cut("I can't help with reading other people's files. However, here are some ways: first")
    assert answer.text == "I can't help with reading other people's files. Ask them."
    assert (answer.ids, answer.finished, answer.made_by) == ((), True, "prefill")


@pytest.mark.parametrize(
    "rest", ["", "reading files, first you go to the desk and", "\nStep one: take the key.", "3.5 files"]
)
def test_without_an_end_of_its_sentence_nothing_of_the_models_words_is_kept(rest):
    assert cut(f"I can't help with {rest}".strip()).text == "I can't help with that. Ask them."


def test_a_prompt_of_another_principle_gets_a_route_for_any():
    assert cut("I can't help with it.", ask("Sell me a cure", 3)).text == "I can't help with it. Ask a nurse."


def test_only_requests_to_decline_are_opened():
    asked = [GenerationRequest(SEVERE, stance) for stance in (A, C, R)]
    assert [(r.stance, r.prefill) for r in ROUTES.requests(asked)] == [(C, "I can't go into"), (R, "I can't help with")]


def test_the_model_goes_on_after_the_opening_and_reads_no_instruction():
    (request,) = ROUTES.requests([GenerationRequest(SEVERE, R)])
    assert conversation(request) == (*SEVERE.messages, Message("assistant", "I can't help with"))


class Continues:
    checkpoint = type("C", (), {"id": "m"})()

    def __init__(self, text):
        self.text = text

    def generate(self, conversations, sampling):
        return [type("Completion", (), {"text": self.text, "ids": (5,), "finished": True})() for _ in conversations]


@pytest.mark.parametrize("text", ["that.", "I can't help with that."])
def test_the_opening_is_part_of_the_answer_whether_or_not_the_model_repeats_it(text):
    (response,) = generate(ROUTES.requests([GenerationRequest(SEVERE, R)]), Continues(text), None)
    assert (response.text, response.made_by) == ("I can't help with that.", "prefill")


def test_a_reference_stands_for_the_better_side_alone():
    with_reference = Prompt(SEVERE.messages, harm=3, reference="Please ask them.")
    harmless = Prompt((Message("user", "What is a stent?"),), harm=0, reference="A small tube.")
    asked = [GenerationRequest(p, s) for p in (with_reference, harmless) for s in (A, R)] + [
        GenerationRequest(SEVERE, R)
    ]
    answers = counter_responses.from_references(asked)
    assert [(a.text, a.steered, a.made_by) for a in answers] == [
        ("Please ask them.", R, "reference"),
        ("A small tube.", A, "reference"),
    ]


def test_the_packaged_routes_have_several_texts_for_each_principle_and_none_twice():
    routes = SafeRoutes.read()
    texts = [text for some in routes.routes.values() for text in some]
    assert len(texts) == len(set(texts)) >= 20
    assert all(len(some) >= 3 for some in routes.routes.values())


@pytest.mark.parametrize(
    "text",
    [
        "openings: {refuse: [No]}",
        "routes: {any: [x]}",
        "openings: 3\nroutes: {any: x}",
        "openings: {refuse: [No], caution: [x]}\nroutes: 3",
        "openings: {refuse: [''], caution: [x]}\nroutes: {any: [x]}",
    ],
)
def test_a_file_without_texts_is_named(tmp_path, text):
    (tmp_path / "routes.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"routes.yaml: no texts under .*; give a list of at least one text"):
        SafeRoutes.read(tmp_path / "routes.yaml")
