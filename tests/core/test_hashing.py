"""Rows that are digested one by one have the digest of their list."""

import pytest

from bedside.core.hashing import digest, digest_rows
from bedside.core.types import Message, Prompt


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_rows_one_by_one_have_the_digest_of_their_list(n):
    rows = [
        Prompt((Message("user", f"é {number}"),), harm=1, metadata={"b": "\u2028", "a": "1"}) for number in range(n)
    ]
    assert digest_rows(iter(rows)) == digest(rows)
