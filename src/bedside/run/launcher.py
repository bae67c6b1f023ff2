"""How this process was started: alone, or by a launcher as one of several that share a run."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bedside.core.distributed import Ranks, SingleRank
from bedside.core.errors import ConfigError

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
_MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = "torchrun --nproc-per-node 2 -m bedside align"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """How this process was started."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """The rank on this machine."""
    missing: tuple[str, ...] = ()
    """Variables that the processes need to connect and that the launcher did not set."""
    accelerated: bool = False
    """True if ``accelerate launch`` started one process, as it does on a CPU for any ``--num_processes``."""


def process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """How this process was started, from a launcher's variables in ``environment``."""
    numbers = {name: int(value) for name, value in environment.items() if value.isdecimal()}
    world = max(numbers.get(name, 1) for name in _SIZES)
    return ProcessInfo(
        rank=next((numbers[name] for name in _RANKS if name in numbers), 0),
        world=world,
        local=numbers.get("LOCAL_RANK", 0),
        missing=tuple(name for name in _MEETING if not environment.get(name)) if world > 1 else (),
        accelerated=world == 1 and "ACCELERATE_MIXED_PRECISION" in environment,
    )


STARTED = process_info(os.environ)
"""Read at import: ``connect`` removes the launcher's variables later."""


def require_one_process(what: str) -> None:
    """ConfigError if a launcher started several."""
    if STARTED.world > 1:
        raise ConfigError(f"{what} runs in one process, and {STARTED.world} were started; only `align` shares its work")


def connect(device: Callable[[], str]) -> Ranks:
    """Connects the processes of this run. Other libraries then see one process and one GPU.

    ``device`` returns the device of this process; it is called once only its own GPU is visible.
    ConfigError if a launcher started processes that cannot connect, or more than there are GPUs.
    """
    if STARTED.missing:
        raise ConfigError(
            f"a launcher started {STARTED.world} processes, but did not set {', '.join(STARTED.missing)}, so they "
            f"cannot connect; start them with `{TORCHRUN}`"
        )
    ranks: Ranks = SingleRank()
    if STARTED.world > 1:
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(STARTED.local + 1)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[STARTED.local] if STARTED.local < len(cards) else ""
        from bedside.training.collectives import join_process_group

        own_device = device()
        ranks = join_process_group(own_device)
        _require_one_device_kind(ranks.gather(own_device))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    return ranks


def _require_one_device_kind(devices: Sequence[str]) -> None:
    """ConfigError if some processes have a GPU and others none: their results would differ."""
    if len(set(devices)) > 1:
        cards = sum(device != "cpu" for device in devices)
        raise ConfigError(
            f"{len(devices)} processes were started, and {cards} of them have a GPU of their own; start one process "
            f"per GPU, or set device: cpu"
        )


def is_connected() -> bool:
    """Whether this process is connected to the others: ``connect`` has removed the launcher's variables."""
    return STARTED.world > 1 and "RANK" not in os.environ


def launch_note() -> str | None:
    """A warning if ``accelerate launch`` started one process instead of several."""
    if not STARTED.accelerated:
        return None
    return (
        "accelerate launch started one process here: on a CPU it does so silently, whatever --num_processes says. "
        f"For two: {TORCHRUN}"
    )
