"""Which conversations were counted already, in constant memory: a Bloom filter, in layers of 8 MiB.

It never forgets a group, so no two answers of one conversation are counted. It may take a new group for a known one,
which is then left out: that depends on the group's name alone and not on its answers, so every promise on false alarms
holds. A layer is full at 4 million keys, where it takes 1 in 500 new groups for a known one; then the next begins.
"""

import zlib
from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

_BITS = 1 << 26
_KEYS = 1 << 22
"""Keys of a full layer."""
_MASK = _BITS - 1
_THREE = Struct("<3Q").unpack


@dataclass(slots=True)
class SeenGroups:
    """Groups by the rate that counts them."""

    layers: list[bytearray] = field(default_factory=list)
    keys: int = 0

    def add(self, group: "GroupKey", counter: int) -> bool:
        """Whether the group is new to this counter; it no longer is after the call."""
        first, step = group.first + counter * group.third, group.step
        probes = (first & _MASK, (first + step) & _MASK, (first + 2 * step) & _MASK, (first + 3 * step) & _MASK)
        for layer in self.layers:
            for at in probes:
                if not layer[at >> 3] >> (at & 7) & 1:
                    break
            else:
                return False
        if self.keys % _KEYS == 0:
            self.layers.append(bytearray(_BITS >> 3))
        last = self.layers[-1]
        for at in probes:
            last[at >> 3] |= 1 << (at & 7)
        self.keys += 1
        return True

    def packed(self) -> bytes:
        """For a file."""
        return zlib.compress(b"".join(self.layers), 1)

    @classmethod
    def unpacked(cls, data: bytes, keys: int) -> "SeenGroups":
        """What ``packed`` gave. ValueError or zlib.error for other bytes."""
        whole, size = zlib.decompress(data), _BITS >> 3
        if len(whole) != -(-keys // _KEYS) * size:
            raise ValueError("another number of layers")
        return cls([bytearray(whole[at : at + size]) for at in range(0, len(whole), size)], keys)


class GroupKey(NamedTuple):
    """The digest of the name of a group."""

    first: int
    step: int
    third: int

    @classmethod
    def of(cls, name: str) -> "GroupKey":
        first, step, third = _THREE(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=24).digest())
        return cls(first, step | 1, third | 1)
