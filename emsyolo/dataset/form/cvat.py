"""CVAT for images: an `annotations.xml` for each task, or for a project."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

from emsyolo.dataset.form.reading import Annotated, Object, Reading, Settings
from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.values import class_name, number
from emsyolo.dataset.voc import xml_root

Box = tuple[float, float, float, float]
MARK = re.compile(rb"<(\w+:)?image\s")
TURNED = "have turned boxes; their upright boxes are used"
TAGS = ("tag", "attribute")  # of whole images


def read(tree: Tree, settings: Settings) -> Reading:
    """What the XML files with `<image name=...>` say, in px from 0; an image without shapes is background.

    Polygons, ellipses and masks have the box around them, turned boxes their upright one; other shapes have no area
    and are left out. The split is the image's `subset`, if that is one, else that in the file's name or of a folder.

    Raises:
        ValueError: several images fit a name as well.
    """
    reading = Reading("cvat", settings)
    for file in tree.ending(".xml"):
        if not MARK.search(file.read_bytes()):
            continue
        try:
            root = xml_root(file, settings.encoding)
        except ValueError as error:
            reading.of_images.leave_out(str(file), str(error))
            continue
        for element in root.iter("image"):
            _enter(element, file, tree, reading)
    return reading


def _enter(element: Element, file: Path, tree: Tree, reading: Reading) -> None:
    name = element.get("name", "")
    image = tree.find(name, file)
    if image is None:
        reading.lacks(file, name)
        return
    objects = []
    for place, shape in enumerate(element, start=1):
        if shape.tag in TAGS:
            continue
        try:
            objects.append(Object(class_name(shape.get("label"), "label"), _box(shape)))
        except ValueError as error:
            reading.ledger.leave_out(str(file), f"image {name!r}, shape {place}: {error}")
            continue
        if shape.tag == "box" and _angle(shape):
            reading.ledger.note(TURNED, image)
    sides = [element.get(side, "") for side in ("height", "width")]
    height, width = (int(side) if re.fullmatch(r"\d{1,9}", side) else 0 for side in sides)
    size_hw = (height, width) if min(height, width) > 0 else None
    splits = tree.splits(word=element.get("subset", "")) or tree.splits(file, image, word=file.stem)
    reading.add(Annotated(image, file, tuple(objects), size_hw, splits))


def _box(shape: Element) -> Box:
    """The upright box of a shape."""
    if shape.tag not in BOXES:
        raise ValueError(f"is a <{shape.tag}>; expected a shape with an area: {', '.join(BOXES)}")
    return BOXES[shape.tag](shape)


def _numbers(shape: Element, *names: str) -> list[float]:
    return [number(shape.get(name), name) for name in names]


def _of_box(shape: Element) -> Box:
    x0, y0, x1, y1 = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
    angle = _angle(shape)
    if not angle:
        return x0, y0, x1, y1
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    across, down = ((x1 - x0) * cos + (y1 - y0) * sin) / 2, ((x1 - x0) * sin + (y1 - y0) * cos) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - across, y - down, x + across, y + down


def _of_polygon(shape: Element) -> Box:
    pairs = [pair.partition(",")[::2] for pair in (shape.get("points") or "").split(";")]
    xs, ys = ([number(value, "points") for value in side] for side in zip(*pairs, strict=True))
    return min(xs), min(ys), max(xs), max(ys)


def _of_ellipse(shape: Element) -> Box:
    x, y, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
    angle = _angle(shape)
    across = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    down = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, x + across, y + down


def _of_mask(shape: Element) -> Box:
    left, top, width, height = _numbers(shape, "left", "top", "width", "height")
    return left, top, left + width, top + height


def _angle(shape: Element) -> float:
    """By which a shape is turned about its centre, radians."""
    return math.radians(number(shape.get("rotation") or 0, "rotation"))


BOXES: dict[str, Callable[[Element], Box]] = {
    "box": _of_box,
    "polygon": _of_polygon,
    "ellipse": _of_ellipse,
    "mask": _of_mask,
}
