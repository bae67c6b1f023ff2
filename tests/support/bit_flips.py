"""One bit of one file of a folder, flipped and put back: where it was is drawn from a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def positions(folder: Path, count: int, seed: int) -> list[tuple[str, int, int]]:
    """``count`` times a file below ``folder``, one of its bytes and one of its bits.

    Every second flip is drawn over files, the others over bytes: else weights would take nearly all of them.
    """
    draw = random.Random(seed)
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    sizes = {name: size for name, size in sizes.items() if size}
    files = [draw.choices(list(sizes), None if n % 2 else list(sizes.values()))[0] for n in range(count)]
    return [(name, draw.randrange(sizes[name]), draw.randrange(8)) for name in files]


@contextmanager
def flipped(file: Path, byte: int, bit: int) -> Iterator[None]:
    """The file with that bit flipped, and afterwards the folder's file as it was."""
    before = file.read_bytes()
    damaged = bytearray(before)
    damaged[byte] ^= 1 << bit
    file.write_bytes(damaged)
    try:
        yield
    finally:
        file.write_bytes(before)
