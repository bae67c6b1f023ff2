"""How this process was started: alone, or by a launcher as one of several that share a run."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bedside.core.distributed import Alone, Ranks
from bedside.core.errors import ConfigError

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
_MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = "torchrun --nproc-per-node 2 -m bedside align"


@dataclass(frozen=True, slots=True)
class Started:
    """How this process was started."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Which one on this machine."""
    missing: tuple[str, ...] = ()
    """What processes need to meet and the launcher did not say."""
    accelerated: bool = False
    """By ``accelerate launch``, in one process: on a CPU it does so whatever it was asked for."""


def started(told: Mapping[str, str]) -> Started:
    """What a launcher put into the environment ``told``."""
    numbers = {name: int(value) for name, value in told.items() if value.isdecimal()}
    world = max(numbers.get(name, 1) for name in _SIZES)
    rank = next((numbers[name] for name in _RANKS if name in numbers), 0)
    missing = tuple(name for name in _MEETING if not told.get(name)) if world > 1 else ()
    accelerated = world == 1 and "ACCELERATE_MIXED_PRECISION" in told
    return Started(rank, world, numbers.get("LOCAL_RANK", 0), missing, accelerated)


STARTED = started(os.environ)
"""Read before anything is taken away."""


def require_one_process(what: str) -> None:
    """ConfigError where there are several."""
    if STARTED.world > 1:
        raise ConfigError(f"{what} runs in one process, and {STARTED.world} were started; `{TORCHRUN}` is what shares")


def ranks(device: Callable[[], str]) -> Ranks:
    """The processes of this run, met; to other libraries each is the only one, and sees one card.

    ``device`` tells where this one computes, and is asked once it sees its own card alone.
    ConfigError where a launcher started several that cannot meet, or more than there are cards.
    """
    if STARTED.missing:
        raise ConfigError(
            f"a launcher started {STARTED.world} processes, but did not say {', '.join(STARTED.missing)}, so they "
            f"cannot meet; start them with `{TORCHRUN}`"
        )
    found: Ranks = Alone()
    if STARTED.world > 1:
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(STARTED.local + 1)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[STARTED.local] if STARTED.local < len(cards) else ""
        from bedside.training.collectives import meet

        here = device()
        found = meet(here)
        _require_one_kind(found.gather(here))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    return found


def _require_one_kind(devices: Sequence[str]) -> None:
    """ConfigError where some processes have a card and others none: what they compute would not be the same."""
    if len(set(devices)) > 1:
        cards = sum(device != "cpu" for device in devices)
        raise ConfigError(
            f"{len(devices)} processes were started, and {cards} of them found a card of its own; start one process a "
            f"card, or set device: cpu"
        )


def met() -> bool:
    """Whether this process has met the others: ``ranks`` then takes away what the launcher said."""
    return STARTED.world > 1 and "RANK" not in os.environ


def note() -> str | None:
    """What a person should know of how this was started."""
    if not STARTED.accelerated:
        return None
    return (
        "accelerate launch started one process here, and one it is: on a CPU it does so silently, whatever "
        f"--num_processes says. For two: {TORCHRUN}"
    )
