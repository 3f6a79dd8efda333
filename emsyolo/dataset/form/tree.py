"""The files below a folder, and which image a file of annotations means."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from emsyolo.dataset.form.words import split_of, split_word
from emsyolo.dataset.pixels import SUFFIXES
from emsyolo.text import shortlist

Key = TypeVar("Key")

MAX_FILES = 2_000_000
OF_SYSTEMS = ("__MACOSX", "$RECYCLE.BIN")  # and whatever begins with a dot: ._a.jpg, .ipynb_checkpoints


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder, through links to other folders, each folder once; without what systems leave there."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in OF_SYSTEMS)
        yield from (Path(place, file) for file in sorted(files) if not file.startswith("."))


def folded(text: str) -> str:
    """A name in small letters, its accents composed: the same on every file system."""
    return unicodedata.normalize("NFC", text).casefold()


def stem_of(name: str) -> str:
    """The name of an image without its suffix; a dot that begins no such suffix belongs to the name."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else name


@dataclass(frozen=True)
class Tree:
    """The files below a folder.

    Attributes:
        root: the folder.
        files: in the order of their folders and names.
        stamps: size and time of change of each file that is no image.
    """

    root: Path
    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, root: Path) -> Tree:
        """The tree below a folder, as it is now.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: a file, or more files than any data set has.
        """
        if root.is_file():
            raise ValueError(f"dataset.root={root} is a file; expected the folder that it lies in, archives unpacked")
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; type dataset.root=FOLDER, the folder of the photographs")
        files: list[Path] = []
        for file in walk(root):
            files.append(file)
            if len(files) > MAX_FILES:
                raise ValueError(f"{root}: more than {MAX_FILES:,} files; type dataset.root=FOLDER of the data set")
        files.sort(key=lambda path: path.parts)
        others = (path for path in files if path.suffix.lower() not in SUFFIXES)
        return cls(root, tuple(files), tuple(map(_stamp, others)))

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """The images."""
        return tuple(path for path in self.files if path.suffix.lower() in SUFFIXES)

    def ending(self, *suffixes: str) -> list[Path]:
        """The files with one of these suffixes, given in small letters."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def name(self, path: Path) -> str:
        """What a message calls a file of the tree."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def folders(self, path: Path) -> tuple[str, ...]:
        """The folders in which a file lies, below the root."""
        return path.relative_to(self.root).parts[:-1] if path.is_relative_to(self.root) else path.parts[:-1]

    def splits(self, *paths: Path, word: str = "") -> frozenset[str]:
        """The split that a word says, else the folders of the first of some files that do; empty if none."""
        said = (split_word(word), *(split_of(self.folders(path)) for path in paths))
        return frozenset([split for split in said if split][:1])

    def names(self, paths: Sequence[Path]) -> str:
        """What a message calls several files: themselves, or folder and suffix."""
        if len(paths) <= 2:
            return ", ".join(map(self.name, paths))
        kinds = _grouped(((path.parent, path.suffix.lower()), path) for path in paths)
        patterns = {kind: some[0] if len(some) == 1 else kind[0] / f"*{kind[1]}" for kind, some in kinds.items()}
        return shortlist(map(self.name, patterns.values()))

    def find(self, name: str, near: Path, also: str | None = None) -> Path | None:
        """The image that a file of annotations means; None if there is none.

        It has that name, or that name without suffix. Of several, that whose folders agree best with the folders in
        the name, then with the folders (and the split) of the file of annotations.

        Args:
            name: a name or path, relative to anything, even of another machine; `\\` is read as `/`.
            near: the file of annotations.
            also: another name, which decides between images that differ only in their suffix.

        Raises:
            ValueError: several images fit as well.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        found = self._named(parts[-1]) if parts else []
        if len(found) > 1:
            found = _best(found, lambda path: -_shared_end(path.parts[:-1], parts[:-1]))
            words = self._words(near) | ({split_word(near.stem)} - {None})
            found = _best(found, lambda path: len(self._words(path) ^ words))
        if len({path.parent for path in found}) > 1:
            raise ValueError(
                f"{near}: {name} may be {shortlist(map(self.name, found))}; expected one of this name; rename the "
                "others, or type dataset.root= with the folder of one"
            )
        asked = folded((also or name).replace("\\", "/").rpartition("/")[2])
        same = [path for path in found if folded(path.name) == asked]
        return min(same or found, key=lambda path: SUFFIXES.index(path.suffix.lower()), default=None)

    def _named(self, name: str) -> list[Path]:
        """The images of a name, exactly, or in other letters, or with another suffix."""
        same = self._by_name.get(folded(name)) or self._by_stem.get(folded(stem_of(name)), [])
        return [path for path in same if path.name == name] or same

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        return _grouped((folded(path.name), path) for path in self.images)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return _grouped((folded(path.stem), path) for path in self.images)

    def _words(self, path: Path) -> set[str | None]:
        """The folders of a file, those of a split by its name."""
        return {split_word(folder) or folded(folder) for folder in self.folders(path)}


def _grouped(pairs: Iterable[tuple[Key, Path]]) -> dict[Key, list[Path]]:
    groups: dict[Key, list[Path]] = defaultdict(list)
    for key, path in pairs:
        groups[key].append(path)
    return dict(groups)


def _best(paths: list[Path], cost: Callable[[Path], int]) -> list[Path]:
    """Those of the least cost."""
    costs = [cost(path) for path in paths]
    return [path for path, one in zip(paths, costs, strict=True) if one == min(costs)]


def _shared_end(folders: Sequence[str], wanted: Sequence[str]) -> int:
    """How many folders at the end are the same."""
    count = 0
    for one, other in zip(reversed(folders), reversed(wanted), strict=False):
        if folded(one) != folded(other):
            break
        count += 1
    return count


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # a link to nothing
        return 0, 0
    return status.st_size, status.st_mtime_ns
