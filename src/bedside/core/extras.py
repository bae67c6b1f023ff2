"""Optional dependencies: which extra of ``pip install 'bedside[EXTRA]'`` brings a package that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from bedside.core.errors import BedsideError

EXTRAS = {
    **dict.fromkeys(("accelerate", "huggingface_hub", "peft", "torch", "transformers"), "train"),
    **dict.fromkeys(("datasets", "pyarrow"), "hf"),
    **dict.fromkeys(("httpx2", "openai"), "api"),
    **dict.fromkeys(("itsdangerous", "starlette", "uvicorn"), "web"),
    "bitsandbytes": "quant",
    "pandas": "pandas",
    "presidio_analyzer": "phi",
}
"""The extra that brings a package, by import name."""


class MissingExtra(BedsideError, ImportError):
    """A package that this work needs is not installed."""


@contextmanager
def needs_extras() -> Iterator[None]:
    """A context, or a decorator, in which a package that is not installed raises MissingExtra with the extra's name."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingExtra(
            f"this needs {package}, which is not installed: pip install 'bedside[{EXTRAS[package]}]'"
        ) from None
