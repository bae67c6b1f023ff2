"""What a run has spent at endpoints, and what it may still spend: tokens and money.

    spend.jsonl    one line a call: {"at": ..., "tokens_in": 412, "tokens_out": 5, "usd": 0.0002, "outcome": "ended"}

A call takes the most it could cost before it is made, and settles on what the endpoint says it used; an
endpoint that does not say is counted at the most. So a limit is kept whatever is in flight, and a resumed run
goes on counting where it stopped. No text of a patient stands in the file.
"""

import dataclasses
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bedside.core.errors import ConfigError, StageError
from bedside.core.hashing import canonical
from bedside.data.io import whole_lines


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None where nobody said."""

    per_million_in: float | None
    per_million_out: float | None

    @property
    def known(self) -> bool:
        return self.per_million_in is not None and self.per_million_out is not None

    def usd(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost; None where the price is not known."""
        if self.per_million_in is None or self.per_million_out is None:
            return None
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / 1e6


@dataclass(frozen=True, slots=True)
class Bill:
    """Of one call: the most it may take, or what it took."""

    at: str
    """Host and model."""
    tokens_in: int
    tokens_out: int
    usd: float | None

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, slots=True)
class Spent:
    """At one endpoint so far."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls whose price is not known: ``usd`` is without them."""

    def plus(self, bill: Bill) -> "Spent":
        usd, unpriced = self.usd + (bill.usd or 0.0), self.unpriced + (bill.usd is None)
        return Spent(self.calls + 1, self.tokens_in + bill.tokens_in, self.tokens_out + bill.tokens_out, usd, unpriced)

    def minus(self, other: "Spent") -> "Spent":
        """What came after ``other``."""
        mine, before = dataclasses.astuple(self), dataclasses.astuple(other)
        return Spent(*(now - was for now, was in zip(mine, before, strict=True)))

    def __str__(self) -> str:
        money = "at no known price" if self.calls and self.unpriced == self.calls else f"{self.usd:.4f} US dollars"
        beside = f" and {self.unpriced} calls at no known price" if 0 < self.unpriced < self.calls else ""
        return f"{self.calls} calls, {self.tokens_in} tokens in, {self.tokens_out} out, {money}{beside}"


@dataclass
class Purse:
    """Limits and the account. Safe to use from several threads."""

    max_tokens: int | None = None
    max_usd: float | None = None
    unknown_price: Literal["stop", "allow"] = "stop"
    file: Path | None = None
    """Where each call is written down; what stands there already counts."""
    spent: dict[str, Spent] = field(default_factory=dict)
    _held: dict[int, Bill] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        for bill in _read(self.file):
            self._count(bill)

    def admit(self, at: str, price: Price, *, own_machine: bool) -> None:
        """ConfigError where money could be spent that nobody can count. A server on this machine sends no bill."""
        if price.known or self.unknown_price == "allow" or (own_machine and self.max_usd is None):
            return
        raise ConfigError(
            f"{at}: what a token costs is not known, so no budget can be kept; give usd_per_million_in and "
            "usd_per_million_out beside its url (0 for a server of your own), or say budget.unknown_price: allow"
        )

    def take(self, most: Bill) -> bool:
        """Hold ``most`` back for a call. False: wait until a call in flight has settled. StageError: never again."""
        with self._lock:
            missing = self._missing(most)
            if not missing:
                self._held[id(most)] = most
                return True
            if self._held:
                return False
        raise StageError(f"{missing}; raise it and continue with the same command: finished rows are kept")

    def settle(self, most: Bill, bill: Bill | None, outcome: str) -> None:
        """The call is over. ``bill`` None: the endpoint did not say, so it is counted at the most.

        ``outcome`` is a word of ours: no text of a patient, a model or an endpoint.
        """
        with self._lock:
            self._held.pop(id(most), None)
            self._count(bill or most)
            self._write(bill or most, "usage" if bill else "most", outcome)

    def _missing(self, most: Bill) -> str:
        """Which limit this call could break; empty where none."""
        spent = list(self.spent.values())
        tokens = sum(s.tokens_in + s.tokens_out for s in spent)
        usd = sum(s.usd for s in spent)
        held = list(self._held.values())
        if self.max_tokens is not None and tokens + sum(b.tokens for b in held) + most.tokens > self.max_tokens:
            next_ = f"{most.tokens:,}"
            return f"budget.max_tokens is {self.max_tokens:,}: {tokens:,} are spent, the next call may take {next_}"
        if self.max_usd is not None and usd + sum(b.usd or 0.0 for b in held) + (most.usd or 0.0) > self.max_usd:
            return (
                f"budget.max_usd is {self.max_usd}: {usd:.4f} are spent, the next call may take {most.usd or 0.0:.4f}"
            )
        return ""

    def _count(self, bill: Bill) -> None:
        self.spent[bill.at] = self.spent.get(bill.at, Spent()).plus(bill)

    def _write(self, bill: Bill, counted: str, outcome: str) -> None:
        if self.file is None:
            return
        counted = counted if bill.tokens else "nothing"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as out:
            out.write(canonical({**_plain(bill), "counted": counted, "outcome": outcome}) + "\n")


def _plain(bill: Bill) -> dict[str, Any]:
    return {"at": bill.at, "tokens_in": bill.tokens_in, "tokens_out": bill.tokens_out, "usd": bill.usd}


def _read(file: Path | None) -> Iterator[Bill]:
    """Calls written down earlier. One of which a crash left half a line is the only one not counted."""
    for row in map(json.loads, whole_lines(file) if file else []):
        yield Bill(row["at"], row["tokens_in"], row["tokens_out"], row["usd"])
