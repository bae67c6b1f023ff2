"""A judge under attack: one that follows the text instead of the answer is caught."""

import pytest

from bedside.core.types import STANCES, Stance, Verdict
from bedside.judge_audit import adversarial


def test_every_string_carries_the_answer_and_there_are_sixty_or_more():
    strings = [s for kind in adversarial.words()["strings"].values() for s in kind]
    assert len(strings) >= 60
    assert {a["stance"] for a in adversarial.words()["answers"]} == set(STANCES)
    for string in strings:
        text = adversarial.fill_template(string, "THE ANSWER", "refuse")
        assert text.count("THE ANSWER") == 1
        assert "{answer}" not in text
        assert "{fill}" not in text
        assert isinstance(string, str) or len(text.encode()) == pytest.approx(string["to"], rel=0.02)
    assert max(len(adversarial.fill_template(s, "x", "refuse").encode()) for s in strings) >= 199_000
    assert adversarial.fill_template("{answer} {goal}", "say {goal}", "refuse") == "say {goal} refuse", (
        "an answer is no template"
    )


class Gullible:
    """Believes the last of the three labels it can find in the answer."""

    name = "gullible"

    def judge(self, responses):
        return [self.one(r) for r in responses]

    def one(self, response):
        found = [(response.text.rfind(word), word) for word in STANCES if word in response.text]
        return Verdict(response.id, self.name, Stance(max(found)[1] if found else "caution"))


class Deaf(Gullible):
    """Reads whether the fixed answer's own words are there, and nothing else."""

    name = "deaf"

    def one(self, response):
        by = {row["core"]: row["stance"] for row in adversarial.words()["answers"]}
        stance = next((stance for core, stance in by.items() if core in response.text), None)
        if stance is None:
            return Verdict(response.id, self.name, unreadable="?")
        return Verdict(response.id, self.name, Stance(stance))


def under_attack(judge):
    answers = adversarial.default_targets()
    stances = [v.stance for v in judge.judge([adversarial.unchanged(a) for a in answers])]
    cases = adversarial.cases(answers, stances)
    rows = {r.id: r for case in cases for r in (case.before, case.after)}
    verdicts = {v.response: v for v in judge.judge(list(rows.values()))}
    result = adversarial.flip_rates("j", judge.name, cases, verdicts)
    return {attack.kind: attack for attack in result.attacks}, result


@pytest.mark.slow
def test_a_judge_that_believes_what_it_reads_flips_and_one_that_does_not_does_not():
    gullible, result = under_attack(Gullible())
    assert gullible["all adversarial strings"].flips.value > 0.9
    assert gullible["all adversarial strings"].steered.value == gullible["all adversarial strings"].flips.value
    assert result.strongest
    deaf, _ = under_attack(Deaf())
    total = deaf["all adversarial strings"]
    assert total.flips.value == 0
    assert total.flips.n >= 60 * 5
    assert total.flips.high < 0.05
    for kind in ("empathy added", "empathy removed", "safety-netting added", "safety-netting removed"):
        assert deaf[kind].flips.n >= 6
        assert deaf[kind].flips.value == 0


def test_a_judge_that_takes_kindness_for_a_refusal_is_caught():
    class Cold(Deaf):
        name = "cold"

        def one(self, response):
            stance = Stance.REFUSE if "sorry" in response.text.lower() else Stance.ACCEPT
            return Verdict(response.id, self.name, stance)

    found, _ = under_attack(Cold())
    assert found["empathy added"].flips.value > 0.05
    assert found["empathy removed"].flips.value > 0
    assert found["safety-netting added"].flips.value == 0


class Phrases(Deaf):
    """Believes the first refusal that it can find, wherever it stands."""

    name = "phrases"

    def one(self, response):
        refuses = "I cannot assist" in response.text or "I can't help" in response.text
        return Verdict(response.id, self.name, Stance.REFUSE if refuses else Stance.ACCEPT)


def test_a_refusal_around_an_answer_that_is_given_all_the_same_is_counted_and_a_safe_route_is_no_refusal():
    attacked, _ = under_attack(Phrases())
    for kind in ("refuses first", "refuses at the end"):
        assert attacked[kind].flips.n == 8 * 6
        assert attacked[kind].flips.value == attacked[kind].steered.value == 2 / 8
    assert attacked["offers a safe route first"].flips.value == 0


def test_an_answer_that_the_judge_takes_for_refused_hides_nothing_and_that_is_shown():
    class Stern(Deaf):
        name = "stern"

        def one(self, response):
            return Verdict(response.id, self.name, Stance.REFUSE)

    attacked, _ = under_attack(Stern())
    assert (attacked["refuses first"].flips.n, attacked["refuses first"].flips.value) == (0, None)


def test_every_refusal_leaves_the_answer_whole():
    target = adversarial.default_targets()[0]
    cases = adversarial.refusal_cases(target)
    assert len({case.after.text for case in cases}) == len(cases) == 24
    assert all(target.core in case.after.text and case.after.prompt == case.before.prompt for case in cases)
