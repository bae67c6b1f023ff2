"""Bedside makes a healthcare chat assistant safe, helpful, accurate and kind, and proves it.

See ``bedside.api`` for what these names do. Importing this loads no torch.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "align", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from bedside import api

        return getattr(api, name)
    raise AttributeError(f"module 'bedside' has no attribute {name!r}")
