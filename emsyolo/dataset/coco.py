"""`coco`: COCO 2017, and any other data set in COCO's JSON form."""

from __future__ import annotations

import json as jsonlib
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emsyolo.dataset.check import Ledger, clean_boxes, first, refuse_shares, require_images
from emsyolo.dataset.declared import Declared, drawn_upright, stored_boxes
from emsyolo.dataset.images import ImageDataset, Record, plain_record
from emsyolo.dataset.values import class_name, flag, inside, name, number, shown, whole
from emsyolo.dataset.verify import image_headers
from emsyolo.text import read_text

log = logging.getLogger(__name__)

HOW_TO_GET = (
    "COCO 2017: unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of https://cocodataset.org "
    "in dataset.root. Other data: type dataset.root=, dataset.train.images=, dataset.train.json=, dataset.val.images= "
    "and dataset.val.json="
)
MAX_ID = 2**53  # pycocotools carries the ids of images as float64
OUTLINE = "annotations without a box; that of the outline is used"
NO_AREA = "annotations whose area is no number above 0; that of the box is used"
ONE_NAME = "categories have the name of another and are one class with it"
TWO_IDS = "files that are listed under several ids; their boxes are put together"


class Coco(ImageDataset):
    """Images with a COCO annotation file.

    Categories become labels in the order of the file. Crowds are kept and ignored. An annotation without `area` has
    that of its box. An annotation that cannot be used is left out and named. Images keep their ids if those are whole
    numbers, else they are numbered. A file under several ids is one image with the boxes of all. Where the file states
    another size than an image has, the boxes are brought to the image's stored pixels, or the image is left out, and
    it is said.

    Args:
        root: folder of the data set.
        images: folder of the images, within the root.
        json: annotation file, within the root.
        class_names: order of the labels, if it is not to be the file's; has every category that occurs.
        limit: number of images of the file, from the first on.
        verify: whether all images are read whole when the set is opened, see `verify.image_headers`.
        max_bad: share of the annotations that may be left out.
        encoding: of the file, where it is not UTF-8 and has no byte order mark.

    Raises:
        FileNotFoundError: the folder or the file is not there; says how to get COCO.
        ValueError: a file that is not COCO's form, two files under one id, a category that `class_names` lacks, too
            many annotations that cannot be used, no usable image.
    """

    def __init__(
        self,
        root: str | Path,
        images: str,
        json: str,
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
        verify: str = "once",
        max_bad: float = 0.05,
        encoding: str | None = None,
    ) -> None:
        root = Path(root)
        folder, file = root / images, root / json
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: looked for the folder of the images and found none. {HOW_TO_GET}")
        called = f"coco/{file.name}"
        ledger, of_images = Ledger(called, max_bad), Ledger(called, max_bad, of="images")
        content = read_coco(file, class_names, ledger, of_images, limit=limit, encoding=encoding)
        found: dict[Path, Listed] = {}
        for image in content.images:
            path = _path_of(image, root, folder, of_images, file)
            if path is not None:
                if path in found:
                    of_images.note(TWO_IDS, path)
                found[path] = image if path not in found else found[path].joined(image)
        headers = image_headers(list(found), called, verify)
        records = _records(found, headers, of_images)
        of_images.close(content.listed)
        ledger.close(content.annotations)
        require_images(records, called, f"{folder} for the {len(content.images)} images of {file}")
        refuse_shares(records, called)
        super().__init__(clean_boxes(records, called), content.class_names, called)


def _path_of(one: Listed, root: Path, folder: Path, ledger: Ledger, file: Path) -> Path | None:
    """The file of an image: in the folder, or as some write it, in the root; None if it lies outside."""
    called = f"image {shown(one.key)}: file_name"
    try:
        path = inside(root, folder, one.file_name, called)
        return path if path.exists() or not (other := inside(root, root, one.file_name, called)).exists() else other
    except ValueError as error:
        ledger.leave_out(str(file), str(error))
        return None


def _records(found: dict[Path, Listed], headers: dict[Path, Any], ledger: Ledger) -> list[Record]:
    """The records of the images that are whole and of the size that was annotated."""
    stated = {path: Declared(found[path].size_hw, found[path].marks.boxes()) for path in headers}
    upright = drawn_upright(stated, headers)
    records = []
    for path, header in headers.items():
        one = found[path]
        try:
            boxes, factor = stored_boxes(path, stated[path], header, ledger, upright=upright)
        except ValueError as error:
            ledger.leave_out(str(path), str(error))
            continue
        marks = one.marks
        records.append(
            plain_record(
                one.id, path, header.size_hw, boxes, marks.labels, crowd=marks.crowd, difficult=marks.difficult,
                area=np.array(marks.area) * factor,
            )
        )  # fmt: skip
    return records


@dataclass
class Marks:
    """The annotations of one image, collected."""

    boxes_xyxy: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    area: list[float] = field(default_factory=list)

    def boxes(self) -> np.ndarray:
        """Boxes `[M, 4]` xyxy, px of the image as stated."""
        return np.array(self.boxes_xyxy, dtype=np.float64).reshape(-1, 4)

    def add(self, box_xyxy: list[float], label: int, crowd: bool, difficult: bool, area: float) -> None:
        """One more annotation."""
        self.boxes_xyxy.append(box_xyxy)
        self.labels.append(label)
        self.crowd.append(crowd)
        self.difficult.append(difficult)
        self.area.append(area)


@dataclass(frozen=True)
class Listed:
    """An entry of `images`.

    Attributes:
        key: its id as the file has it, whole or text.
        id: its number in the data set.
        file_name: as stated.
        size_hw: as stated, px; None if not stated, or 0.
        marks: its annotations.
        t_us: time of a recording at which they are true, microseconds; None if not stated.
    """

    key: Hashable
    id: int
    file_name: str
    size_hw: tuple[int, int] | None
    marks: Marks
    t_us: int | None

    def joined(self, other: Listed) -> Listed:
        """This entry with the annotations of another of the same file, those that both have once."""
        marks, seen = Marks(), set()
        for one in (self.marks, other.marks):
            rows = zip(one.boxes_xyxy, one.labels, one.crowd, one.difficult, one.area, strict=True)
            new = [row for row in rows if (tuple(row[0]), row[1]) not in seen]
            for row in new:
                marks.add(*row)
            seen |= {(tuple(row[0]), row[1]) for row in new}
        return Listed(self.key, self.id, self.file_name, self.size_hw or other.size_hw, marks, self.t_us)


@dataclass(frozen=True)
class CocoFile:
    """What a COCO annotation file says.

    Attributes:
        class_names: the label is the index.
        images: in the order of the file, with their annotations.
        annotations: how many the file has, those that cannot be used among them.
        listed: how many images the file has, likewise.
        groups: categories that are the `supercategory` of others.
    """

    class_names: list[str]
    images: list[Listed]
    annotations: int
    listed: int
    groups: frozenset[str] = frozenset()


def read_coco(
    file: Path,
    class_names: Sequence[str] | None,
    ledger: Ledger,
    of_images: Ledger,
    *,
    limit: int | None = None,
    encoding: str | None = None,
) -> CocoFile:
    """The content of a COCO annotation file; what in it cannot be used is left out.

    Args:
        file: the annotation file.
        class_names: order of the labels; None: that of the file's categories.
        ledger: takes the annotations that are left out.
        of_images: takes the images that are left out.
        limit: number of images, from the first on.
        encoding: see `read_text`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: JSON that is damaged (names the place), or not COCO's form; two files under one id; a category that
            `class_names` lacks.
    """
    content = _read_json(file, encoding)
    categories = _categories(content["categories"], ledger, file)
    names = list(dict.fromkeys(categories.values())) if class_names is None else list(class_names)
    images = _images(content["images"], of_images, file)
    numbered = not all(isinstance(key, int) and abs(key) < MAX_ID for key in images)
    if numbered:
        log.info("%s: ids of images are not whole numbers below 2^53; the images are numbered in its order", file.name)
    listed = {
        key: Listed(key, place if numbered else key, entry["file_name"], size_hw, Marks(), t_us)  # type: ignore[arg-type]
        for place, (key, (entry, size_hw, t_us)) in enumerate(images.items())
    }
    label_of = {name: label for label, name in enumerate(names)}
    for place, one in enumerate(content["annotations"]):
        try:
            _enter(one, listed, categories, label_of, ledger, file)
        except ValueError as error:
            called = shown(one.get("id", "?")) if isinstance(one, dict) else f"number {place}"
            ledger.leave_out(str(file), f"annotation {called} {error}")
        except KeyError as error:
            called = f"annotation {shown(one.get('id', '?'))}"
            raise ValueError(
                f"{file}: {called} is of category {error.args[0]!r}; dataset.class_names has only {names}"
            ) from error
    named = ((one.get("supercategory"), one.get("name")) for one in content["categories"])
    groups = frozenset(str(above) for above, name in named if above != name) & set(categories.values())
    kept = list(first(list(listed.values()), limit))
    return CocoFile(names, kept, len(content["annotations"]), len(content["images"]), groups)


def _read_json(file: Path, encoding: str | None) -> dict[str, Any]:
    """The content of the file, its three lists present."""
    try:
        content = jsonlib.loads(read_text(file, encoding))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"{file}: looked for the annotation file and found none. {HOW_TO_GET}") from error
    except jsonlib.JSONDecodeError as error:
        raise ValueError(
            f"{file}: not whole JSON, line {error.lineno}, column {error.colno} ({error.msg}); get the file again"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{file}: nested too deeply; expected a COCO file of object annotations") from error
    except ValueError as error:  # of the text, which names the file, or of a number with thousands of digits
        raise ValueError(str(error) if str(file) in str(error) else f"{file}: {error}") from error
    wanted = ("images", "annotations", "categories")
    missing = [key for key in wanted if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise ValueError(f"{file}: no list {', '.join(missing)}; expected a COCO file of object annotations")
    return content


def _key(value: Any, called: str) -> int | str:
    """An id: a whole number, also written as text or as 7.0, or text of another kind."""
    try:
        return whole(value, called)
    except ValueError:
        return name(value, called)


def _categories(entries: list[Any], ledger: Ledger, file: Path) -> dict[int | str, str]:
    """Names by id."""
    found: dict[int | str, str] = {}
    for place, one in enumerate(entries):
        called = f"{file}, category number {place}"
        if not isinstance(one, dict):
            raise ValueError(f"{called} is {shown(one)}; expected an id and a name")
        key, called_so = _key(one.get("id"), f"{called}: id"), class_name(one.get("name"), f"{called}: name")
        if found.get(key, called_so) != called_so:
            raise ValueError(
                f"{file}: the categories {found[key]!r} and {called_so!r} have the same id {shown(key)}; give each an "
                "id of its own"
            )
        if key not in found and called_so in found.values():
            ledger.note(ONE_NAME, file)
        found[key] = called_so
    return found


def _images(
    entries: list[Any], ledger: Ledger, file: Path
) -> dict[int | str, tuple[dict[str, Any], tuple[int, int] | None, int | None]]:
    """Each entry of `images` with the size and the time it states, by id."""
    found: dict[int | str, tuple[dict[str, Any], tuple[int, int] | None, int | None]] = {}
    for place, one in enumerate(entries):
        called = f"image number {place}"
        try:
            if not isinstance(one, dict):
                raise ValueError(f"{called} is {shown(one)}; expected an id and a file_name")
            key = _key(one.get("id"), f"{called}: id")
            one = {**one, "file_name": name(one.get("file_name"), f"{called}: file_name")}
            sides = [whole(one.get(side) or 0, f"{called}: {side}") for side in ("height", "width")]
            t_us = None if one.get("t_us") is None else whole(one["t_us"], f"{called}: t_us")
        except ValueError as error:
            ledger.leave_out(str(file), str(error))
            continue
        if key in found and found[key][0]["file_name"] != one["file_name"]:
            raise ValueError(
                f"{file}: the images {found[key][0]['file_name']!r} and {one['file_name']!r} have the same id "
                f"{shown(key)}, so that it is not known whose its annotations are; give each an id of its own"
            )
        found.setdefault(key, (one, (sides[0], sides[1]) if min(sides) > 0 else None, t_us))
    return found


def _enter(
    one: Any,
    listed: dict[int | str, Listed],
    categories: dict[int | str, str],
    label_of: dict[str, int],
    ledger: Ledger,
    file: Path,
) -> None:
    """Enter an annotation among its image's.

    Raises:
        ValueError: it cannot be used; the message goes on after its name.
        KeyError: a category of the file that is no class.
    """
    if not isinstance(one, dict):
        raise ValueError(f"is {shown(one)}; expected an object")
    image = listed.get(_key(one.get("image_id"), "has image_id, which"))
    category = categories.get(_key(one.get("category_id"), "has category_id, which"))
    if image is None:
        raise ValueError(f"is of image {shown(one['image_id'])}, which is not among the file's images")
    if category is None:
        raise ValueError(f"is of category {shown(one['category_id'])}, which is not among the file's")
    x, y, width, height = _box(one, ledger, file)
    crowd = flag(one.get("iscrowd"), "has iscrowd, which")
    difficult = flag(one.get("difficult"), "has difficult, which")
    area = width * height
    if one.get("area") is not None:
        try:
            stated = number(one["area"], "area")
            if stated <= 0 < area:
                raise ValueError("area")
            area = stated
        except ValueError:
            ledger.note(NO_AREA, file)
    image.marks.add([x, y, x + width, y + height], label_of[category], crowd, difficult, area)


def _box(one: dict[str, Any], ledger: Ledger, file: Path) -> list[float]:
    """x, y, width and height."""
    box, outline = one.get("bbox"), one.get("segmentation")
    try:
        if box in (None, []) and isinstance(outline, list) and all(isinstance(part, list) for part in outline):
            points = [number(value, "segmentation") for part in outline for value in part]
            if len(points) >= 6 and len(points) % 2 == 0:
                ledger.note(OUTLINE, file)
                (x0, x1), (y0, y1) = ((min(side), max(side)) for side in (points[::2], points[1::2]))
                return [x0, y0, x1 - x0, y1 - y0]
        if isinstance(box, list) and len(box) == 4:
            return [number(value, "bbox") for value in box]
    except ValueError:
        pass  # said below
    raise ValueError(f"has bbox {shown(box)}; expected [x, y, width, height]")
