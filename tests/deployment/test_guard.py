"""The light guard learns the form of a request and not its harm, and its report keeps gain and cost apart."""

import pytest

from bedside.attacks import transform
from bedside.core.errors import DataError
from bedside.core.types import Message, Prompt
from bedside.deployment import attack
from bedside.deployment.guard import FormGuard

WORDS = ("tablet", "fever", "child", "sleep", "knee", "cough", "diet", "vaccine", "insulin", "tooth")


def asked(number, harm):
    text = f"How do I {'hide' if harm else 'treat'} a problem with my {WORDS[number % 10]} since {number} days?"
    return Prompt((Message("user", text),), harm=harm, group=f"g{number}")


PROMPTS = [asked(number, harm) for number in range(30) for harm in (0, 3)]
KNOWN = transform.open_attacks(["role-play", "homoglyphs", "burial"])


def forms(name, prompts=PROMPTS):
    (one,) = transform.open_attacks([name])
    return [transform.transform(prompt, one, 1) for prompt in prompts]


def share(flags):
    return sum(flags) / len(flags)


def test_it_sees_the_forms_that_it_has_learned_and_leaves_plain_prompts_alone():
    guard = FormGuard.fit(PROMPTS[:40], KNOWN, 0)
    assert share(guard.flags(PROMPTS[40:])) == 0
    for name in ("role-play", "homoglyphs", "burial"):
        assert share(guard.flags(forms(name, PROMPTS[40:]))) == 1


def test_harm_is_no_sign_of_an_attack():
    guard = FormGuard.fit(PROMPTS[:40], KNOWN, 0)
    harmless, harmful = ([p for p in PROMPTS[40:] if bool(p.harm) is wanted] for wanted in (False, True))
    assert guard.flags(harmless) == guard.flags(harmful) == [False] * 10


def test_the_same_prompts_and_seed_give_the_same_guard():
    one, other = (FormGuard.fit(PROMPTS[:20], KNOWN, 3) for _ in range(2))
    probes = [*PROMPTS, *forms("indirection"), *forms("temporal")]
    assert one.flags(probes) == other.flags(probes)
    assert one.flags([]) == []


def test_without_prompts_or_attacks_there_is_nothing_to_learn():
    for prompts, attacks in (([], KNOWN), (PROMPTS, [])):
        with pytest.raises(DataError, match="learns from plain prompts and from at least one attack"):
            FormGuard.fit(prompts, attacks, 0)


def test_a_guard_is_measured_on_an_attack_whose_parts_it_has_not_seen(monkeypatch):
    learned = []

    def fit(prompts, attacks, seed):
        learned.append([one.name for one in attacks])

    monkeypatch.setattr(attack.FormGuard, "fit", staticmethod(fit))
    attacks = transform.open_attacks(["role-play", "homoglyphs", "role-play+homoglyphs", "burial"])
    for but in (attacks[0], attacks[2], attacks[3], None):
        attack._guard(PROMPTS, attacks, 0, but)
    alone = transform.open_attacks(["burial"])
    attack._guard(PROMPTS, alone, 0, but=alone[0])
    assert learned[:4] == [
        ["homoglyphs", "burial"],
        ["burial"],
        ["role-play", "homoglyphs", "role-play+homoglyphs"],
        ["role-play", "homoglyphs", "role-play+homoglyphs", "burial"],
    ]
    assert set(learned[4]) == set(transform.DEFAULT) - {"burial"}
