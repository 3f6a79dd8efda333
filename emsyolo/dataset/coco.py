"""`coco`: COCO 2017, and any other data set in COCO's JSON form."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emsyolo.dataset.check import clean_boxes, first, image_sizes, require_images
from emsyolo.dataset.images import ImageDataset, Record, plain_record

HOW_TO_GET = (
    "COCO 2017: unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of https://cocodataset.org "
    "in dataset.root. Other data: type dataset.root=, dataset.train.images=, dataset.train.json=, dataset.val.images= "
    "and dataset.val.json="
)


class Coco(ImageDataset):
    """Images with a COCO annotation file.

    Categories become labels in the order of the file. Crowds are kept and ignored. An annotation without `area` has
    that of its box.

    Args:
        root: folder of the data set.
        images: folder of the images, within the root.
        json: annotation file, within the root.
        class_names: order of the labels, if it is not to be the file's; has every category that occurs.
        limit: only the first so many images of the file.

    Raises:
        FileNotFoundError: the folder or the file is not there; says how to get COCO.
        ValueError: a file that is not COCO's form, an annotation of an unknown image or category, no usable image.
    """

    def __init__(
        self,
        root: str | Path,
        images: str,
        json: str,
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        folder, file = Path(root) / images, Path(root) / json
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: looked for the folder of the images and found none. {HOW_TO_GET}")
        name = f"coco/{file.name}"
        content = read_json(file)
        names = [str(category["name"]) for category in content["categories"]] if class_names is None else class_names
        marks = marks_by_image(content, list(names), file)
        paths = {folder / image["file_name"]: image["id"] for image in first(content["images"], limit)}
        sizes = image_sizes(list(paths), name)
        records = [record_of(paths[path], path, size, marks[paths[path]]) for path, size in sizes.items()]
        require_images(records, name, f"{folder} for the {len(content['images'])} images of {file}")
        super().__init__(clean_boxes(records, name), names, name)


@dataclass
class Marks:
    """The annotations of one image, collected."""

    boxes_xyxy: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    area: list[float] = field(default_factory=list)


def read_json(file: Path) -> dict[str, Any]:
    """The content of a COCO annotation file, its three lists present.

    Raises:
        FileNotFoundError: no such file.
        ValueError: JSON that is cut off or damaged (names the place), or without COCO's lists.
    """
    try:
        content = jsonlib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"{file}: looked for the annotation file and found none. {HOW_TO_GET}") from error
    except jsonlib.JSONDecodeError as error:
        raise ValueError(
            f"{file}: not whole JSON, line {error.lineno}, column {error.colno} ({error.msg}); get the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not text at byte {error.start}; expected a COCO JSON file") from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(_get(content, key), list)]
    if missing:
        raise ValueError(f"{file}: no list {', '.join(missing)}; expected a COCO file of object annotations")
    return content


def _get(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def marks_by_image(content: dict[str, Any], names: list[str], file: Path) -> dict[int, Marks]:
    """The annotations, per image id."""
    marks = {image["id"]: Marks() for image in content["images"]}
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    label_of = {name: label for label, name in enumerate(names)}
    for one in content["annotations"]:
        called = f"{file}: annotation {one.get('id', '?')}"
        if one.get("image_id") not in marks:
            raise ValueError(f"{called} is of image {one.get('image_id')}, which is not among the file's images")
        if one.get("category_id") not in categories:
            raise ValueError(
                f"{called} is of category {one.get('category_id')}, which is not among the file's: {categories}"
            )
        category = categories[one["category_id"]]
        if category not in label_of:
            raise ValueError(f"{called} is of category {category!r}; dataset.class_names has only {names}")
        x, y, width, height = _box(one, called)
        mark = marks[one["image_id"]]
        mark.boxes_xyxy.append([x, y, x + width, y + height])
        mark.labels.append(label_of[category])
        mark.crowd.append(bool(one.get("iscrowd", 0)))
        mark.difficult.append(bool(one.get("difficult", 0)))
        mark.area.append(float(one.get("area", width * height)))
    return marks


def _box(annotation: dict[str, Any], called: str) -> list[float]:
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{called} has bbox {annotation.get('bbox')}; expected [x, y, width, height]") from error
    return [x, y, width, height]


def record_of(image_id: int, path: Path, size_hw: tuple[int, int], marks: Marks, t_us: int | None = None) -> Record:
    """The record of an image and its annotations."""
    return plain_record(
        image_id,
        path,
        size_hw,
        np.array(marks.boxes_xyxy).reshape(-1, 4),
        marks.labels,
        crowd=marks.crowd,
        difficult=marks.difficult,
        area=marks.area,
        t_us=t_us,
    )
