"""From configs to objects: with the scripts, the only reader of Hydra. Python enters by the three names below."""

from importlib import import_module
from typing import Any

_HOMES = {"build_detector": "build", "call": "python", "load_detector": "python"}
__all__ = ["build_detector", "call", "load_detector"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and only that: a script that ends with a message needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
