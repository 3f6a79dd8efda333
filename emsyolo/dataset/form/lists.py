"""Lists of the images of each split: `ImageSets/Main/train.txt`, or a `train.txt` anywhere."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.form.words import SPLITS
from emsyolo.dataset.pixels import SUFFIXES
from emsyolo.text import read_text

NUMBERS = re.compile(r"(\s+-?\d+)+$")  # after a name: marks of a class, as VOC and the Oxford pets have them
WHOLE = "trainval"  # counts as the training set where there is no other
NAMES = {word: split for split, words in SPLITS.items() for word in words} | {WHOLE: WHOLE}


def split_lists(tree: Tree, images: Collection[Path], encoding: str | None) -> tuple[dict[Path, set[str]], list[Path]]:
    """The splits of each image by the lists, and the lists.

    A list is a text whose name is a split's and most of whose lines name images, by path, file name or name without
    suffix. VOC's lists for other tasks, `ImageSets/Segmentation` and the like, are none.

    Args:
        tree: is looked through.
        images: those that have annotations.
        encoding: of text that is not UTF-8 and has no byte order mark.

    Returns:
        Splits by image, of those in `images` that are listed; files.
    """
    found: dict[str, set[Path]] = {}
    files = []
    for file in tree.ending(".txt"):
        split = NAMES.get(file.stem.lower())
        if split is None or _of_another_task(tree.folders(file)):
            continue
        try:
            lines = [line.strip() for line in read_text(file, encoding).split("\n") if line.strip()]
        except (ValueError, OSError):
            continue
        named = [image for image in (_image(line, file, tree) for line in lines) if image is not None]
        if len(named) * 2 > len(lines):
            found.setdefault(split, set()).update(named)
            files.append(file)
    whole = found.pop(WHOLE, set())
    if whole and "train" not in found:
        found["train"] = whole
    splits: dict[Path, set[str]] = {}
    for split, some in found.items():
        for image in some & set(images):
            splits.setdefault(image, set()).add(split)
    return splits, files if splits else []


def _of_another_task(folders: tuple[str, ...]) -> bool:
    return "ImageSets" in folders[:-1] and folders[-1] != "Main"


def _image(line: str, file: Path, tree: Tree) -> Path | None:
    """The image that a line names: all of it, or what stands before numbers or before the path of its annotations."""
    readings = [line, NUMBERS.sub("", line)]
    fields = line.split()
    if len(fields) == 2 and fields[0].lower().endswith(SUFFIXES):
        readings.append(fields[0])
    try:
        return next((image for image in (tree.find(text, file) for text in readings) if image is not None), None)
    except ValueError:  # several images of that name
        return None
