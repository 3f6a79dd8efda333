"""The bar that shows how far long work has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich import get_console
from rich.markup import escape
from rich.progress import track

Item = TypeVar("Item")


def on_screen() -> bool:
    """Whether somebody looks at the output: in a file each state of a bar would be lines of its own."""
    console = get_console()
    return console.is_terminal or console.is_jupyter


def bar(items: Iterable[Item], doing: str, *, total: float | None = None, hidden: bool = False) -> Iterable[Item]:
    """The items, with a bar that goes when they end; without one where the output is no terminal.

    Args:
        items: what is worked on.
        doing: what is done, such as `evaluating`.
        total: how many they are, where they do not know it themselves.
        hidden: show none in any case.
    """
    return track(items, escape(doing), total, transient=True, disable=hidden or not on_screen())
