"""Everything Bedside raises on purpose.

    BedsideError
      ConfigError     a config says something the code cannot mean        exit 1
      DataError       a row or file breaks its type's promise             exit 1
      ModelError      a model folder or endpoint cannot be used           exit 1
      StageError      a stage ran, and its result must not be used        exit 1
        Lost          another process of this run has stopped             exit 1

Anything else that escapes (KeyError, RuntimeError ...) is a bug in Bedside: let it travel.
Messages say where, what, and what to do.
"""


class BedsideError(Exception):
    """Base class, so that a caller can catch what was meant and nothing else."""

    exit_code = 1


class ConfigError(BedsideError, ValueError):
    """A config says something the code cannot mean."""


class DataError(BedsideError, ValueError):
    """A row or a file breaks its type's promise."""


class ModelError(BedsideError):
    """A model folder or an endpoint cannot be used."""


class StageError(BedsideError):
    """A stage ran, and its result must not be used."""


class Lost(StageError):
    """Another process of this run has stopped, so this one cannot go on."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this run has stopped, so this one does; finished work is kept: continue with the "
            "same command, in as many processes as you like"
        )
