"""YOLO's text files, with a `data.yaml`, or without in whatever folders they and their images lie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from emsyolo.dataset.data_yaml import FILES, DataYaml, read_yaml
from emsyolo.dataset.form.reading import Annotated, Object, Reading, Settings
from emsyolo.dataset.form.tree import Tree, folded
from emsyolo.dataset.form.words import SPLITS
from emsyolo.dataset.values import class_name, shown
from emsyolo.dataset.yolo_txt import NO_LABELS, LabelFinder, images_of, read_labels
from emsyolo.text import read_text, shortlist

DEEPEST = 2  # folders below the root in which a data.yaml is looked for
MAX_CLASSES = 1000  # of labels whose classes have no names
NAMES_KEY = re.compile(rb"^\s*[\"']?names[\"']?\s*:", re.MULTILINE)
# What lists the names of the classes, a line each, of several the first: labelImg's, Darknet's, CVAT's, Roboflow's.
NAMES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels", "names.txt", "predefined_classes.txt")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
Placed = dict[Path, frozenset[str]]


def read(tree: Tree, settings: Settings) -> Reading:
    """What the text files say: per line `class x y width height`, centre and size as shares of the image.

    A `data.yaml` names classes and splits. If there is none, or what it names is not here, those images count whose
    folder has an image with labels, and the split is that of a folder. An image without labels is background. Names of
    the classes are those of `data.yaml`, of `classes.txt` or `*.names`, else numbers.

    Raises:
        ValueError: several files that disagree on the names, a `data.yaml` that cannot be understood, or a class
            number that is none.
    """
    reading = Reading("yolo", settings)
    given = _data_yaml(tree, settings.encoding)
    if given is not None:
        reading.files.setdefault(given.file)
    finder = LabelFinder()
    placed = _declared(given, settings.encoding, reading) if given is not None else None
    reading.declared = placed is not None
    labels: dict[Path, Path | None] = {}
    if placed is None:
        labels = _labelled(tree, finder)
        placed = {image: tree.splits(image) for image in labels}
    else:
        labels = {image: finder.find(image) for image in placed}
    names = given.class_names if given is not None else _names(tree, settings.encoding)
    _enter(labels, placed, names, given, settings, reading)
    reading.looked_in = finder.looked_in
    _leave_out_orphans(tree, labels, reading)
    return reading


def _data_yaml(tree: Tree, encoding: str | None) -> DataYaml | None:
    """The YAML file with names, that in the uppermost folder; there, that of the usual name."""
    found = [
        path
        for path in tree.ending(".yaml", ".yml")
        if len(tree.folders(path)) <= DEEPEST and NAMES_KEY.search(path.read_bytes())
    ]
    if not found:
        return None
    depth = min(len(tree.folders(path)) for path in found)
    uppermost = [path for path in found if len(tree.folders(path)) == depth]
    usual = [path for path in uppermost if path.name in FILES]
    chosen = usual or uppermost
    if len({path.parent for path in chosen}) > 1 or (not usual and len(chosen) > 1):
        raise ValueError(
            f"{tree.root}: several data sets, {shortlist(map(tree.name, chosen))}; type dataset.root= with the folder "
            "of one"
        )
    return read_yaml(min(chosen, key=lambda path: FILES.index(path.name) if path.name in FILES else 0), encoding)


def _declared(given: DataYaml, encoding: str | None, reading: Reading) -> Placed | None:
    """The images that a data.yaml names, with their splits; None if it names none that are here."""
    placed: dict[Path, set[str]] = {}
    for split in SPLITS:
        try:
            sources = given.sources(split)
        except FileNotFoundError:
            reading.remarks.append(f"what {given.file.name} names as {split} is not here")
            continue
        except ValueError:
            if given.settings.get(split):
                raise
            continue  # not named
        for source in sources:
            for image in images_of(source, given, encoding):
                if image.is_file():
                    placed.setdefault(image, set()).add(split)
                else:
                    reading.lacks(source, image.name)
    if not any("train" in splits for splits in placed.values()):
        return None
    return {image: frozenset(splits) for image, splits in placed.items()}


def _labelled(tree: Tree, finder: LabelFinder) -> dict[Path, Path | None]:
    """The label file of every image in folders in which an image has one."""
    labels = _labels_only({image: finder.find(image) for image in tree.images})
    if not any(labels.values()):  # folders of other names
        texts = Counter(folded(path.stem) for path in tree.ending(".txt"))
        only = {folded(path.stem): path for path in tree.ending(".txt") if texts[folded(path.stem)] == 1}
        labels = _labels_only({image: only.get(folded(image.stem)) for image in tree.images})
    folders = {image.parent for image, file in labels.items() if file is not None}
    return {image: file for image, file in labels.items() if image.parent in folders}


def _labels_only(files: dict[Path, Path | None]) -> dict[Path, Path | None]:
    """The same without texts that are no labels."""
    return {image: file if file is not None and _is_label(file) else None for image, file in files.items()}


def _is_label(file: Path, *, empty: bool = True) -> bool:
    """Whether a text has a row of a class number and four numbers or more, or as an empty one says: no box."""
    try:
        rows = [line.split() for line in read_text(file).split("\n") if line.strip()]
    except (ValueError, OSError):
        return False
    return any(len(row) >= 5 and all(map(NUMBER.fullmatch, row)) for row in rows) if rows else empty


def _names(tree: Tree, encoding: str | None) -> list[str]:
    """The names of the classes in a file of them; none if there is no such file."""
    by_kind = [[path for path in tree.ending(".txt", ".names", ".labels") if folded(path.name) == one] for one in NAMES]
    files = next((some for some in [*by_kind, tree.ending(".names")] if some), [])
    found = {tuple(_lines(file, encoding)): file for file in files}
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise ValueError(f"{one} and {other} list other class names; expected the same, in the order of the numbers")
    return list(next(iter(found), ()))


def _lines(file: Path, encoding: str | None) -> list[str]:
    lines = read_text(file, encoding).rstrip().split("\n")
    names = [class_name(line, f"{file}, line {place}") for place, line in enumerate(lines, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{file} has {shown(twice)} more than once; expected a name for each class")
    return names


def _enter(
    labels: dict[Path, Path | None],
    placed: Placed,
    names: Sequence[str],
    given: DataYaml | None,
    settings: Settings,
    reading: Reading,
) -> None:
    """Read the label files, and name the classes."""
    typed = settings.class_names
    if typed is not None and not (names and set(names) <= set(typed)):
        names = typed  # by number; names of which it has all are only put into its order
    keypoints = None if given is None else given.keypoints
    highest = -1
    for image, file in labels.items():
        if file is None:
            reading.background.append(image)
        found, shares, _ = read_labels(file, len(names) or MAX_CLASSES, keypoints, reading.ledger, settings.encoding)
        highest = max([highest, *found])
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in shares.tolist()]
        called = (names[label] if names else str(label) for label in found)
        objects = tuple(Object(name, box) for name, box in zip(called, boxes, strict=True))
        reading.add(Annotated(image, file or image, objects, splits=placed[image], in_shares=True))
    reading.nameless = not names
    reading.class_names = list(names) or [str(label) for label in range(highest + 1)]
    if reading.nameless and highest >= 0:
        reading.remarks.append("no classes.txt or data.yaml names the classes, so they are called by their numbers")


def _leave_out_orphans(tree: Tree, labels: dict[Path, Path | None], reading: Reading) -> None:
    """Leave out label files whose image is not there, in the folders of those whose image is."""
    used = {file for file in labels.values() if file is not None}
    folders = {file.parent for file in used}
    stems = {folded(image.stem) for image in tree.images}
    for file in tree.ending(".txt"):
        if file in used or file.parent not in folders or folded(file.name) in (*NO_LABELS, *NAMES):
            continue
        if folded(file.stem) not in stems and _is_label(file, empty=False):
            reading.lacks(file, file.stem)
