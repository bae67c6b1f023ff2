"""Runs ``align`` and kills its own process, for real, at the n-th progress of a stage.

    python tests/support/killed_align.py CONFIG [STAGE N]    STAGE ends a progress label: "answer", "judge", "train"

Without STAGE it runs calmly. With one, SIGKILL comes right after the n-th step that matches was reported.
"""

import os
import signal
import sys

import bedside
from bedside.core.protocols import SilentProgress


class Killer(SilentProgress):
    def __init__(self, stage: str, at: int) -> None:
        self.stage, self.left = stage, at

    def step(self, stage: str, done: int, total: int) -> None:
        if self.stage in stage:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    config = bedside.load(sys.argv[1])
    progress = Killer(sys.argv[2], int(sys.argv[3])) if len(sys.argv) > 2 else SilentProgress()
    bedside.align(config, progress)
