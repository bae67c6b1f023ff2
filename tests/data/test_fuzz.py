"""Thousands of hostile inputs: whatever a file holds, a person gets a message within ten seconds and no traceback."""

import signal
import traceback
from collections import Counter

import pytest
from tests.support.fuzzing import Fuzzer

from bedside.core.errors import BedsideError

LONGEST_SECONDS = 10
SHARES = 4


class Hang(BaseException):
    """Raised by the alarm. No reader catches it."""


@pytest.fixture(autouse=True)
def _alarm():
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def try_all(seed, n, folder):
    """How often each outcome came, and each kind of failure with the number and the file of its first input."""
    fuzzer, outcomes, failed = Fuzzer(seed, folder), Counter(), {}
    for number, attempt in enumerate(fuzzer.attempts(n)):
        signal.alarm(LONGEST_SECONDS)
        try:
            attempt()
            outcomes["read"] += 1
        except (BedsideError, OSError) as error:
            outcomes["refused" if str(error).strip() else "refused without a word"] += 1
        except (Exception, Hang) as error:  # noqa: BLE001, what is looked for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            outcomes["hangs" if isinstance(error, Hang) else "tracebacks"] += 1
            kind = f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"
            if kind not in failed:
                kept = fuzzer.file.rename(folder / f"failed-{len(failed)}-{fuzzer.file.name}")
                failed[kind] = f"seed {seed}, input {number}, {kept}: {error}"
        finally:
            signal.alarm(0)
    assert not failed
    assert not outcomes["refused without a word"]
    assert outcomes["read"] > n / 10, "some can be read"
    assert outcomes["refused"] > n / 10, "most are hostile enough to be refused"
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_a_tenth_of_the_hostile_inputs_give_a_message_and_no_traceback(share, tmp_path):
    try_all(f"tenth {share}", 1200 // SHARES, tmp_path)


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_hostile_input_gives_a_traceback_or_hangs(seed, tmp_path, evidence):
    outcomes = try_all(seed, 4000, tmp_path)
    row = {name: outcomes[name] for name in ("read", "refused", "tracebacks", "hangs")}
    evidence["inputs: hostile, read or refused"].append({"seed": seed, "inputs": 4000, **row})
