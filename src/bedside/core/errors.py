"""The errors that Bedside raises. Each message says where, what is wrong, and what to do.

    BedsideError      base class
      ConfigError     the config is not valid
      DataError       a row or a file is not valid
      ModelError      a model folder or an endpoint cannot be used
      StageError      a stage ran, but its result cannot be used
        RankLost      another process of this run has stopped

Any other exception (KeyError, RuntimeError, ...) is a bug in Bedside and is not caught.
"""


class BedsideError(Exception):
    """Base class of the expected errors. The command line exits with ``exit_code``."""

    exit_code = 1


class ConfigError(BedsideError, ValueError):
    """The config is not valid."""


class DataError(BedsideError, ValueError):
    """A row or a file is not valid."""


class ModelError(BedsideError):
    """A model folder or an endpoint cannot be used."""


class StageError(BedsideError):
    """A stage ran, but its result cannot be used."""


class RankLost(StageError):
    """Another process of this run has stopped, so this process stops too."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this run has stopped, so this one stops too; finished work is kept: continue with "
            "the same command, with any number of processes"
        )
