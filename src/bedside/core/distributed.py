"""Several processes that run the same run on the same inputs and share the work.

Every rank runs the same code and waits for the others at the same points. Slow work is planned in batches: rank r of
n computes batches r, r + n, r + 2n ... of those that are missing. Only rank 0 writes results.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from bedside.core.errors import BedsideError, RankLost, StageError

T = TypeVar("T")


class Ranks(Protocol):
    """The processes of a run."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def world(self) -> int:
        """Number of processes."""

    def gather(self, mine: T) -> list[T]:
        """The values of all ranks, in the order of the ranks. Every rank gets them. Raises RankLost if a rank has
        ended."""

    def gather_tensors(self, mine: Any) -> list[Any]:
        """The same for torch tensors of one shape and dtype."""


class SingleRank:
    """A run in one process."""

    rank, world = 0, 1

    def gather(self, mine: T) -> list[T]:
        return [mine]

    def gather_tensors(self, mine: Any) -> list[Any]:
        return [mine]


def share(ranks: Ranks, items: Sequence[T]) -> Sequence[T]:
    """The items that this rank computes."""
    return items[ranks.rank :: ranks.world]


def rejoin(ranks: Ranks, mine: Sequence[T]) -> list[T]:
    """The results of all ranks in the order of the items. ``mine`` are the results of this rank."""
    shares = ranks.gather(mine)
    return [shares[i % ranks.world][i // ranks.world] for i in range(sum(map(len, shares)))]


def run_on_all(ranks: Ranks, work: Callable[[], T]) -> T:
    """The result of ``work`` on this rank, after all ranks have finished. If one rank fails, all raise the error."""
    if ranks.world == 1:
        return work()
    failure: BedsideError | OSError | None = None
    try:
        result = work()
    except RankLost:
        raise
    except (BedsideError, OSError) as error:
        failure = error
    messages = ranks.gather(None if failure is None else str(failure))
    first = next((rank for rank, message in enumerate(messages) if message is not None), None)
    if first is None:
        return result
    if failure is not None and first == ranks.rank:
        raise failure
    raise StageError(f"process {first}: {messages[first]}")
