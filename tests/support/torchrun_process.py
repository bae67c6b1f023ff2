"""One of several processes under torchrun: ``bedside`` as a person starts it, killed for real on one rank if told.

torchrun --standalone --nproc-per-node 2 tests/support/torchrun_process.py align -c CONFIG
KILL="1|train|3" ...      SIGKILL on rank 1 right after its third progress of a stage that has "train" in its label
"""

import os
import signal

from bedside.cli.main import main
from bedside.core.protocols import SilentProgress
from bedside.run import environment


def killing(step, stage: str, at: int):
    """``step``, and death at its ``at``-th call that is about ``stage``."""
    left = iter(range(at - 1, -1, -1))

    def stepped(self, label, done, total):
        step(self, label, done, total)
        if stage in label and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return stepped


if __name__ == "__main__":
    rank, stage, at = os.environ.get("KILL", "-1|none|0").split("|")
    if os.environ["RANK"] == rank:
        for kind in (SilentProgress, environment.TerminalProgress):
            kind.step = killing(kind.step, stage, int(at))
    main()
