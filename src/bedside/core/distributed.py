"""Several processes that run one flow on the same inputs and share its work.

Every rank takes the same way and meets the others at the same places; what costs time is planned in batches, and
rank r of n takes batches r, r + n, r + 2n ... of those that are missing. Rank 0 alone writes results.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from bedside.core.errors import BedsideError, Lost, StageError

T = TypeVar("T")


class Ranks(Protocol):
    """The processes of a run."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def gather(self, mine: T) -> list[T]:
        """What each rank says, in their order, on every rank. Waits for all; Lost where one is gone."""
        ...

    def gather_tensors(self, mine: Any) -> list[Any]:
        """The same for torch tensors of one shape and dtype."""
        ...


class Alone:
    """One process."""

    rank, world = 0, 1

    def gather(self, mine: T) -> list[T]:
        return [mine]

    def gather_tensors(self, mine: Any) -> list[Any]:
        return [mine]


def share(ranks: Ranks, items: Sequence[T]) -> Sequence[T]:
    """What this rank takes of ``items``."""
    return items[ranks.rank :: ranks.world]


def rejoin(ranks: Ranks, mine: Sequence[T]) -> list[T]:
    """What the ranks made of their shares, in the order of the whole."""
    hands = ranks.gather(mine)
    return [hands[i % ranks.world][i // ranks.world] for i in range(sum(map(len, hands)))]


def together(ranks: Ranks, work: Callable[[], T]) -> T:
    """``work`` here, once all are done with theirs. What fails on one rank is raised on all, after that."""
    if ranks.world == 1:
        return work()
    made: list[T] = []
    failed: BedsideError | OSError | None = None
    try:
        made.append(work())
    except Lost:
        raise
    except (BedsideError, OSError) as error:
        failed = error
    told = ranks.gather(None if failed is None else str(failed))
    first = next((rank for rank, said in enumerate(told) if said is not None), None)
    if first is None:
        return made[0]
    if failed is not None and first == ranks.rank:
        raise failed
    raise StageError(f"process {first}: {told[first]}")
