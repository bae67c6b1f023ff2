"""Everything Bedside raises on purpose.

    BedsideError
      ConfigError     a config says something the code cannot mean        exit 1
      DataError       a row or file breaks its type's promise             exit 1
      ModelError      a model folder or endpoint cannot be used           exit 1
      StageError      a stage ran, and its result must not be used        exit 1

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
