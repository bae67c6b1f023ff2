"""Applies an attack to a prompt, and finds the original prompt again.

    transform(prompt, attack, seed)    the prompt in the form of the attack
    untransformed(prompt)              the original prompt, which a judge reads, because the attack is on the assistant

An attack gets the turns from the request on, and a generator that is seeded by seed, attack and prompt id. So a prompt
is transformed in the same way in any file and in any order. Earlier turns, harm level, group and all else stay: a
prompt and its transformed forms are one group.

    Prompt.metadata    attack        the name of the attack
                       base_prompt   the request as it was: `bedside erase` finds a person's words by it
                       base_turns    how many turns stand before it

``mixed_in`` gives the prompts of ``align.attacks``. A harmful prompt and its harmless contrast partner are in one group
and get the same attack, so that the model does not learn to decline prompts that only look strange.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from bedside.config.plugins import Plugin, find, open_plugin
from bedside.config.schema import attack_table
from bedside.core.errors import ConfigError
from bedside.core.hashing import seed_from
from bedside.core.protocols import Attack, Launch
from bedside.core.types import Conversation, Message, Prompt

ATTACK, BASE, TURNS = "attack", "base_prompt", "base_turns"
DEFAULT = (
    "role-play",
    "indirection",
    "substitution",
    "spelling-noise",
    "homoglyphs",
    "burial",
    "pressure",
    "temporal",
    "implicit-harm",
    "false-authority",
)
"""The attacks that `bedside attack` tries by default."""


def transform(prompt: Prompt, attack: Attack, seed: int) -> Prompt:
    """``prompt`` in the form that ``attack`` gives it. ConfigError for a prompt that was transformed before."""
    if BASE in prompt.metadata:
        raise ConfigError(
            f"prompt {prompt.id} was transformed before ({prompt.metadata[ATTACK]}); join attacks with +, as in "
            "role-play+homoglyphs, and give the prompts as they were"
        )
    *before, request = prompt.messages
    turns = attack.turns((request,), Random(seed_from("attack", attack.name, seed, prompt.id)))
    made = {ATTACK: attack.name, BASE: request.text, TURNS: str(len(before))}
    return replace(prompt, messages=(*before, *turns), group=prompt.cluster, metadata={**prompt.metadata, **made})


def untransformed(prompt: Prompt) -> Prompt:
    """The prompt from which ``prompt`` was made; ``prompt`` itself if no attack was applied."""
    if BASE not in prompt.metadata:
        return prompt
    before = prompt.messages[: int(prompt.metadata[TURNS])]
    kept = {key: value for key, value in prompt.metadata.items() if key not in (ATTACK, BASE, TURNS)}
    return replace(prompt, messages=(*before, Message("user", prompt.metadata[BASE])), metadata=kept)


def open_attacks(given: Sequence[Any]) -> list[Attack]:
    """The attacks of these names, tables or plug-ins, in order. ConfigError for an unknown or repeated one."""
    attacks = [_opened(one) for one in given]
    names = [attack.name for attack in attacks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"attacks: {twice[0]} is there twice; leave one out, or give one another `name`")
    return attacks


def _opened(given: Any) -> Attack:
    if isinstance(given, Plugin):
        plugin = given
    else:
        table = attack_table(given)
        plugin = find("attack", table["kind"]).model_validate(table)
    opened: Attack = open_plugin(plugin, Launch(), {})
    return opened


def mixed_in(prompts: Sequence[Prompt], attacks: Sequence[Attack], share: float, seed: int) -> list[Prompt]:
    """A transformed form of each prompt in a ``share`` of the groups. ``seed`` draws one attack per group."""
    if not attacks:
        return []
    order = sorted({prompt.cluster for prompt in prompts}, key=lambda group: (seed_from("mix", seed, group), group))
    chosen = {group: attacks[at % len(attacks)] for at, group in enumerate(order[: round(share * len(order))])}
    known = {prompt.id for prompt in prompts}
    forms = [transform(prompt, chosen[prompt.cluster], seed) for prompt in prompts if prompt.cluster in chosen]
    return [form for form in forms if form.id not in known]  # some texts have nothing that the attack changes


class TextAttack(Plugin):
    """Base of the attacks here: the plug-in itself is the attack. By default its name is its kind.

    A subclass changes the text of a request; ``turns`` puts it back into the conversation.
    """

    label: str = ""
    """Its name in tables and in ``Prompt.metadata``. Empty: its kind."""

    @property
    def name(self) -> str:
        return self.label or self.kind

    def open(self, launch: Launch, **opened: Any) -> Any:
        return self

    def text(self, text: str, rng: Random) -> str:
        """The request in another form."""
        raise NotImplementedError

    def turns(self, turns: Conversation, rng: Random) -> Conversation:
        """The same turns, the request in another form. The request is the first of them."""
        return (Message("user", self.text(turns[0].text, rng)), *turns[1:])


def pick(items: Sequence[Any], rng: Random) -> Any:
    """One of ``items``. Of all draws of ``random``, only ``random()`` is the same in every version of Python."""
    return items[int(rng.random() * len(items))]
