"""Runs `bedside align` as a person does, and presses Ctrl-C, for real, at the n-th progress of a stage.

    python tests/support/interrupted_align.py CONFIG STAGE N      "export": at the n-th adapter that is copied out

The signal goes to the whole process group, as a terminal's does: start this in a session of its own.
"""

import os
import shutil
import signal
import sys

from bedside.cli.main import main
from bedside.run import environment


def pressing(work, stage: str, at: int):
    """``work``, with Ctrl-C pressed at the ``at``-th call that is about ``stage``."""
    calls = iter(range(1, 1_000_000))

    def pressed(*arguments, **named):
        about = stage == "export" or any(stage in told for told in arguments if isinstance(told, str))
        if about and next(calls) == at:
            os.killpg(0, signal.SIGINT)
        return work(*arguments, **named)

    return pressed


if __name__ == "__main__":
    config, stage, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if stage == "export":
        shutil.copytree = pressing(shutil.copytree, stage, at)
    else:
        environment.TerminalProgress.step = pressing(environment.TerminalProgress.step, stage, at)
    sys.argv = ["bedside", "align", "-c", config]
    main()
