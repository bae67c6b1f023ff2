"""Several attacks one after another: ``role-play+homoglyphs`` puts the request into a scene, then disguises letters."""

from random import Random
from typing import Annotated, Any

from pydantic import Field

from bedside.attacks.transform import TextAttack
from bedside.config.plugins import PluginField, register
from bedside.core.hashing import seed_from
from bedside.core.protocols import Launch
from bedside.core.types import Conversation


@register("attack", "chain")
class Chain(TextAttack):
    """Applies its parts in order. A text such as role-play+homoglyphs is a chain of these names."""

    kind: str = "chain"
    parts: tuple[Annotated[Any, PluginField("attack")], ...] = Field(min_length=1)
    """Attacks: tables with ``kind``."""

    @property
    def name(self) -> str:
        return self.label or "+".join(part.name for part in self.parts)

    def open(self, launch: Launch, **opened: Any) -> Any:
        return self

    def turns(self, turns: Conversation, rng: Random) -> Conversation:
        """Each part has its own generator, so that another part does not change the draws of the others."""
        start = int(rng.random() * 2**32)
        for number, part in enumerate(self.parts):
            turns = part.turns(turns, Random(seed_from(start, number)))
        return turns
