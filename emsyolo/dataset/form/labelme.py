"""LabelMe's JSON files, one for each image."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from emsyolo.dataset.form.reading import Annotated, Object, Reading, Settings
from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.values import class_name, number, shown
from emsyolo.text import read_text

MARK = b'"shapes"'
OUTLINES = ("rectangle", "polygon", "mask")  # whose points lie in and on their box


def read(tree: Tree, settings: Settings) -> Reading:
    """What the JSON files with `shapes` say, each of the image in `imagePath`, else of the image of its own name.

    A shape's box is that around its points, in px from 0. Points and lines have no area and are left out. An image
    that is only in the file (`imageData`) is left out and named.

    Raises:
        ValueError: several images fit a file as well.
    """
    reading = Reading("labelme", settings)
    for file in tree.ending(".json"):
        if MARK not in file.read_bytes():
            continue
        try:
            content = json.loads(read_text(file, settings.encoding))
        except (ValueError, RecursionError) as error:
            reading.of_images.leave_out(str(file), f"not whole JSON ({str(error).removeprefix(f'{file}: ')})")
            continue
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            _enter(content, file, tree, reading)
    return reading


def _enter(content: dict[str, Any], file: Path, tree: Tree, reading: Reading) -> None:
    stated = content.get("imagePath")
    path = stated if isinstance(stated, str) else ""
    image = tree.find(path, file) or tree.find(file.stem, file)
    if image is None:
        if content.get("imageData"):
            reason = f"its image {path!r} is only inside it (imageData); write that as a file beside it"
            reading.of_images.leave_out(str(file), reason)
        else:
            reading.lacks(file, path or file.stem)
        return
    objects = []
    for place, shape in enumerate(content["shapes"], start=1):
        try:
            objects.append(_object(shape))
        except ValueError as error:
            reading.ledger.leave_out(str(file), f"shape {place}: {error}")
    reading.add(Annotated(image, file, tuple(objects), _size_hw(content), tree.splits(file, image)))


def _size_hw(content: dict[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None


def _object(shape: Any) -> Object:
    if not isinstance(shape, dict):
        raise ValueError(f"is {shown(shape)}; expected an object")
    name = class_name(shape.get("label"), "label")
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"), f"points of {name!r}")
    if kind == "circle":  # its centre and a point on it
        if len(points) != 2:
            raise ValueError(f"points of {name!r}: {len(points)}; expected the centre of a circle and a point on it")
        (x, y), other = points
        radius = math.dist((x, y), other)
        return Object(name, (x - radius, y - radius, x + radius, y + radius))
    if kind not in OUTLINES or len(points) < 2:
        what = f"{len(points)} points" if kind in OUTLINES else f"a {shown(kind)}"
        raise ValueError(f"{name!r} is {what}; expected a {', '.join(OUTLINES)} or circle, with an area")
    xs, ys = zip(*points, strict=True)
    return Object(name, (min(xs), min(ys), max(xs), max(ys)))


def _points(value: Any, called: str) -> list[tuple[float, float]]:
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise ValueError(f"{called} are {shown(value)}; expected a list of [x, y]")
    return [(number(x, called), number(y, called)) for x, y in value]
