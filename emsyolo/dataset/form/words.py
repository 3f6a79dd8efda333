"""The words in names of folders and files that say to which split something belongs."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLITS = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validate", "validation", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
_SPLIT = {word: split for split, words in SPLITS.items() for word in words}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def split_word(name: str) -> str | None:
    """The split that a name says: `val` of `instances_val2017`, `validImages` or `valid`; None if none, or several."""
    found = {_SPLIT[word] for word in map(str.lower, _WORD.findall(name)) if word in _SPLIT}
    return found.pop() if len(found) == 1 else None


def split_of(folders: Iterable[str]) -> str | None:
    """The split that the folders of a path say, the innermost first; None if none does."""
    return next((split for split in map(split_word, reversed(list(folders))) if split), None)
