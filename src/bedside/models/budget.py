"""The budget of a run at endpoints: tokens and money, spent and left.

    spend.jsonl    two lines per call: {"call": 7, "at": ..., "tokens_in": 412, "tokens_out": 32, "outcome": "sent"}
    and,
                   once it is over, {"call": 7, "at": ..., "tokens_in": 408, "tokens_out": 5, "outcome": "ended"}

Before a call its maximum cost is reserved and written; after it, the usage that the endpoint reports is counted, or the
maximum if it reports none. So no limit is passed by calls in flight. A killed process leaves calls with one line: they
count at their maximum when the run continues. The file has no text of a patient. Its lines are a chain, so that the
spend cannot be changed unnoticed (``data/chained_log.py``).
"""

import dataclasses
import operator
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bedside.core.errors import ConfigError, StageError
from bedside.data.chained_log import append_rows, forget_removed, read_chain
from bedside.data.io import whole_lines


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None if not known."""

    per_million_in: float | None
    per_million_out: float | None

    def usd(self, tokens_in: int, tokens_out: int) -> float | None:
        """The cost of these tokens; None if the price is not known."""
        if self.per_million_in is None or self.per_million_out is None:
            return None
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one call, or their maximum before the call."""

    where: str
    """Host and model."""
    tokens_in: int
    tokens_out: int
    usd: float | None

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, slots=True)
class Spend:
    """Calls, tokens and cost at one endpoint so far."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls whose price is not known; ``usd`` leaves them out."""

    def plus(self, usage: Usage) -> "Spend":
        added = (1, usage.tokens_in, usage.tokens_out, usage.usd or 0.0, usage.usd is None)
        return Spend(*map(operator.add, dataclasses.astuple(self), added))

    def minus(self, earlier: "Spend") -> "Spend":
        """The spend since ``earlier``."""
        return Spend(*map(operator.sub, dataclasses.astuple(self), dataclasses.astuple(earlier)))

    def __str__(self) -> str:
        money = "at no known price" if self.calls and self.unpriced == self.calls else f"{self.usd:.4f} US dollars"
        unpriced = f" and {self.unpriced} calls at no known price" if 0 < self.unpriced < self.calls else ""
        return f"{self.calls} calls, {self.tokens_in} tokens in, {self.tokens_out} out, {money}{unpriced}"


@dataclass
class Budget:
    """The limits of a run and what it has spent. Safe to use from several threads."""

    max_tokens: int | None = None
    max_usd: float | None = None
    unknown_price: Literal["stop", "allow"] = "stop"
    file: Path | None = None
    """Each call is written to this file before it is sent. The calls that it already holds count."""
    spent: dict[str, Spend] = field(default_factory=dict)
    """By host and model."""
    _calls: int = 0
    _in_flight: dict[int, Usage] = field(default_factory=dict, repr=False)
    """The most that each call in flight can use, by its number."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        earlier = _read_calls(self.file) if self.file else {}
        self._calls = max(earlier, default=0)
        for usage in earlier.values():
            self._count(usage)

    def require_price(self, where: str, price: Price, *, own_machine: bool) -> None:
        """Raises ConfigError if calls cost money at an unknown price. A server on this machine costs none."""
        if price.usd(0, 0) is not None or self.unknown_price == "allow" or (own_machine and self.max_usd is None):
            return
        raise ConfigError(
            f"{where}: the price of a token is not known, so no budget can be kept; give usd_per_million_in and "
            "usd_per_million_out next to its url (0 for a server of your own), or set budget.unknown_price: allow"
        )

    def reserve(self, most: Usage) -> int | None:
        """The number of a call that may use ``most`` and may now be sent. None: wait until a call in flight is settled.

        Raises StageError if the call would pass a limit and none is in flight.
        """
        with self._lock:
            reason = self._limit_reason(most)
            if not reason:
                self._calls += 1
                self._write(self._calls, most, counted="most", outcome="sent")
                self._in_flight[self._calls] = most
                return self._calls
            if self._in_flight:
                return None
        raise StageError(f"{reason}; raise it and continue with the same command: finished rows are kept")

    def settle(self, call: int, usage: Usage | None, outcome: str) -> None:
        """Count a call that is over. ``usage`` None: the endpoint reported none, so its maximum is counted.

        ``outcome`` is a fixed word of this package, never text of a patient, a model or an endpoint.
        """
        with self._lock:
            used = usage or self._in_flight[call]
            counted = "nothing" if not used.tokens else "usage" if usage else "most"
            self._write(call, used, counted=counted, outcome=outcome)
            del self._in_flight[call]
            self._count(used)

    def _write(self, call: int, usage: Usage, **how: str) -> None:
        if self.file is not None:
            row = {"call": call, "at": usage.where, "tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out}
            append_rows(self.file, self.file.parent, [{**row, "usd": usage.usd, **how}])

    def _limit_reason(self, most: Usage) -> str:
        """The limit that this call could pass; empty if there is none."""
        reserved = self._in_flight.values()
        tokens = sum(spend.tokens_in + spend.tokens_out for spend in self.spent.values())
        in_flight = sum(usage.tokens for usage in reserved)
        if self.max_tokens is not None and tokens + in_flight + most.tokens > self.max_tokens:
            return (
                f"budget.max_tokens is {self.max_tokens:,}: {tokens:,} are spent, "
                f"the next call may take {most.tokens:,}"
            )
        usd = sum(spend.usd for spend in self.spent.values())
        next_usd = most.usd or 0.0
        if self.max_usd is not None and usd + sum(usage.usd or 0.0 for usage in reserved) + next_usd > self.max_usd:
            return f"budget.max_usd is {self.max_usd}: {usd:.4f} are spent, the next call may take {next_usd:.4f}"
        return ""

    def _count(self, usage: Usage) -> None:
        self.spent[usage.where] = self.spent.get(usage.where, Spend()).plus(usage)


def _read_calls(file: Path) -> dict[int, Usage]:
    """What each call used, by its number: the maximum of a call that was in flight when its process was killed.

    Raises DataError for a line that is not what was written, or was removed.
    """
    forget_removed(file)
    remedy = "What this run has spent is not known: restore the file, or remove it to count from 0"
    rows, _ = read_chain(file, remedy)
    deque(whole_lines(file), maxlen=0)  # removes half a line that a crash left
    return {int(row["call"]): Usage(row["at"], row["tokens_in"], row["tokens_out"], row["usd"]) for row in rows}
