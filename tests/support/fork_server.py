"""Starts Python programs by forking a process that has torch and transformers loaded: a tenth of a second, not ten.

    stdin, a list a line    [{"argv": ["-m", "bedside"], "cwd": ..., "env": {...}, "stdout": FILE, "stderr": FILE}]
    stdout                  [0]

The exit codes come when all programs of a line have ended; they run at once. Each has a process group, environment,
working directory and streams of its own, and may be killed. What is loaded is other people's packages: Bedside itself
is imported anew by every program.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import traceback

LOADED = (
    "torch", "transformers", "transformers.trainer", "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.generation.utils", "peft", "accelerate", "safetensors.torch", "pydantic", "typer", "jinja2",
    "scipy.stats", "sklearn.linear_model", "sklearn.feature_extraction.text", "datasets", "tokenizers", "rich.progress",
)  # fmt: skip


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # what is loaded is no garbage, so no program looks through it again
    for line in sys.stdin:
        pids = [start(program) for program in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)


def start(program: dict) -> int:
    """The process that runs ``program``; in that process this never returns."""
    pid = os.fork()
    if pid == 0:
        os._exit(run(program))
    return pid


def run(program: dict) -> int:
    """The exit code of ``program``, run in this process as ``python ARGV`` would."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(program["cwd"])
    os.environ.clear()
    os.environ.update(program["env"])
    for path, stream in ((os.devnull, 0), (program["stdout"], 1), (program["stderr"], 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    module, *words = program["argv"][1:] if program["argv"][0] == "-m" else program["argv"]
    first = program["cwd"] if program["argv"][0] == "-m" else os.path.dirname(os.path.abspath(module))
    sys.path[:1] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *words]
    code = 1
    try:
        if program["argv"][0] == "-m":
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(module, run_name="__main__")
        code = 0
    except SystemExit as left:
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001  what an interpreter does with whatever is raised
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
