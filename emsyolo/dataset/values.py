"""What annotation files may hold where a number, a mark, a name or a path is expected.

Each function takes the value and what a message calls it (file, entry and key), and raises a ValueError that begins
with the latter: never a TypeError, KeyError or OverflowError, whatever JSON, XML or YAML held.
"""

from __future__ import annotations

import math
import os
import reprlib
from pathlib import Path
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
NO, YES = ("", "0", "0.0", "no", "false", "unspecified", "none"), ("1", "1.0", "yes", "true")


def shown(value: Any) -> str:
    """A value for a message, cut short however long or deep it is."""
    return _SHORT.repr(value)


def number(value: Any, called: str) -> float:
    """A finite number, given as one or as text.

    Raises:
        ValueError: anything else.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(value)
        found = float(value)
        if not math.isfinite(found):
            raise ValueError(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{called} is {shown(value)}; expected a number") from error
    return found


def whole(value: Any, called: str) -> int:
    """A whole number, given as 2, 2.0, "2" or "2.0".

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        found = number(value, called)
    except ValueError as error:
        raise ValueError(f"{called} is {shown(value)}; expected a whole number") from error
    if found != int(found):
        raise ValueError(f"{called} is {shown(value)}; expected a whole number")
    return int(found)


def flag(value: Any, called: str) -> bool:
    """A mark that is set or not: 0 or 1, true or false, or such a word; left out, null or "Unspecified" is not set.

    Raises:
        ValueError: anything else.
    """
    if value is None or value is False or (type(value) is int and value == 0):  # nearly always
        return False
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else None
    if word in NO or word in YES:
        return word in YES
    raise ValueError(f"{called} is {shown(value)}; expected 0 or 1")


def name(value: Any, called: str) -> str:
    """A name: text that is not blank, or a number in its place.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(f"{called} is {shown(value)}; expected a name")
    return str(value).strip()


def class_name(value: Any, called: str) -> str:
    """A name of a class: a name on one line, blanks within it single, for terminals, pictures and pages.

    Raises:
        ValueError: no name, or one with characters that cannot be shown.
    """
    text = " ".join(name(value, called).split())
    if not text.isprintable():
        raise ValueError(f"{called} is {shown(value)}; expected characters that can be shown")
    return text


def inside(root: Path, folder: Path, value: Any, called: str) -> Path:
    """The path that a file of annotations gives, relative to a folder, which must not lead out of the data set.

    Backslashes separate folders as slashes do.

    Args:
        root: of the data set.
        folder: what a relative path is relative to, in the root.
        value: as the file gives it.
        called: what a message calls it.

    Raises:
        ValueError: no text, or a path that leaves the root.
    """
    text = name(value, called).replace("\\", "/")
    # By its words: a link within the data set may lead wherever its owner wants.
    path = Path(os.path.normpath(folder / text))
    top = Path(os.path.normpath(root.absolute()))
    if "\0" in text or not Path(os.path.normpath(path.absolute())).is_relative_to(top):
        raise ValueError(f"{called} is {shown(value)}, which leads out of {root}; expected a path within it")
    return path
