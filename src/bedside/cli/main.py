"""The command line. ``bedside VERB --help`` explains each verb; each verb calls the function of that name in the API.

Exit codes: 0 done, 1 error, 2 usage, 3 a gate did not pass, 130 interrupted (the same command continues). Results
go to stdout, progress and errors to stderr. Torch is loaded only by the verbs that need it.
"""

# Each module registers its verbs on ``app``; the order of the imports is the order of --help.
from bedside.cli import run, stages, judges, people, comfort  # noqa: F401, I001
from bedside.cli.options import ERR, app
from bedside.run import environment


def main() -> None:
    with environment.clean_exit(ERR):
        app(standalone_mode=True)
