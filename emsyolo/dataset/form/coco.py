"""COCO's JSON files, one for all images or one for each split."""

from __future__ import annotations

from pathlib import Path

from emsyolo.dataset.coco import CocoFile, Listed, read_coco
from emsyolo.dataset.form.reading import Annotated, Object, Reading, Settings
from emsyolo.dataset.form.tree import Tree

MARKS = (b'"images"', b'"annotations"', b'"categories"')
PANOPTIC = b'"segments_info"'  # a file without boxes of its own


def read(tree: Tree, settings: Settings) -> Reading:
    """What the JSON files with images, annotations and categories say.

    The split is that in a file's name, else of its folder, else of the image's. Classes are in the order of the files'
    categories; one without annotations that is the `supercategory` of others is none.

    Raises:
        ValueError: JSON that is damaged, or several images that fit a name as well.
    """
    reading = Reading("coco", settings)
    names: dict[str, None] = {}
    groups: set[str] = set()
    for file in tree.ending(".json"):
        data = file.read_bytes()
        if PANOPTIC in data or not all(mark in data for mark in MARKS):
            continue
        content = read_coco(file, None, reading.ledger, reading.of_images, encoding=settings.encoding)
        names |= dict.fromkeys(content.class_names)
        groups |= content.groups
        _enter(content, file, tree, reading)
    used = {one.name for image in reading.images.values() for one in image.objects}
    reading.class_names = [name for name in names if name in used or name not in groups]
    return reading


def _enter(content: CocoFile, file: Path, tree: Tree, reading: Reading) -> None:
    for listed in content.images:
        image = tree.find(listed.file_name, file)
        if image is None:
            reading.lacks(file, listed.file_name)
            continue
        objects = tuple(_objects(listed, content.class_names))
        splits = tree.splits(file, image, word=file.stem)
        reading.add(Annotated(image, file, objects, listed.size_hw, splits))


def _objects(listed: Listed, names: list[str]) -> list[Object]:
    marks = listed.marks
    rows = zip(marks.boxes_xyxy, marks.labels, marks.difficult, marks.crowd, marks.area, strict=True)
    return [
        Object(names[label], (box[0], box[1], box[2], box[3]), difficult, crowd, area)
        for box, label, difficult, crowd, area in rows
    ]
