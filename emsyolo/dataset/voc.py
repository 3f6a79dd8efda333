"""`voc`: PASCAL VOC 2007 and 2012, and any other data set with VOC's XML files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from torchvision.datasets import VOCDetection

from emsyolo.dataset.check import clean_boxes, first, image_sizes, report_left_out, require_images
from emsyolo.dataset.images import ImageDataset, plain_record

CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".PNG")


class VOC(ImageDataset):
    """Images with one XML file each, listed by image sets.

    VOC counts pixels from 1 and includes both ends of a box: xmin and ymin are lowered by 1, xmax and ymax stay, so
    that a box covers its pixels in our convention. Boxes marked difficult are kept and ignored. An image whose XML is
    missing, cut off or without numbers is left out, with a warning that names it.

    Args:
        root: folder of the data set.
        image_sets: folder within the root, a slash, and the set: `VOCdevkit/VOC2007/trainval` means the images that
            `VOCdevkit/VOC2007/ImageSets/Main/trainval.txt` lists; a set alone (`trainval`) is of the root itself.
        class_names: the label is the index; None means VOC's twenty.
        download: fetch sets that are missing, with torchvision, from the challenge's server.
        limit: only the first so many images.

    Raises:
        FileNotFoundError: an image set that is not there; says how to get VOC.
        ValueError: an object of an unknown class, or no usable image.
    """

    def __init__(
        self,
        root: str | Path,
        image_sets: Sequence[str],
        class_names: Sequence[str] | None = None,
        download: bool = False,
        limit: int | None = None,
    ) -> None:
        name = f"voc/{'+'.join(image_sets)}"
        names = CLASS_NAMES if class_names is None else tuple(class_names)
        listed = [pair for image_set in image_sets for pair in _listed(Path(root), image_set, download)]
        listed = list(first(listed, limit))
        objects, broken = {}, {}
        for image, xml in listed:
            try:
                objects[image, xml] = read_xml(xml)
            except ValueError as error:
                broken[xml] = str(error)
        report_left_out(broken, len(listed), name)
        _require_known([(xml, one.name) for (_, xml), found in objects.items() for one in found], names)
        sizes = image_sizes([image for image, _ in objects], name)
        label_of = {one: label for label, one in enumerate(names)}
        records = [
            plain_record(
                number,
                image,
                sizes[image],
                np.array([one.box_xyxy for one in found]).reshape(-1, 4),
                [label_of[one.name] for one in found],
                difficult=[one.difficult for one in found],
            )
            for number, ((image, _), found) in enumerate(objects.items())
            if image in sizes
        ]
        require_images(records, name, f"{root} for the {len(listed)} images of {', '.join(image_sets)}")
        super().__init__(clean_boxes(records, name), names, name)


@dataclass(frozen=True)
class Object:
    """One object of an XML file, its box in px from 0, the right and lower end excluded."""

    name: str
    box_xyxy: tuple[float, float, float, float]
    difficult: bool


def read_xml(path: Path) -> list[Object]:
    """The objects of a VOC annotation file.

    Raises:
        ValueError: missing, cut off, or without names and numbers; the message is the reason alone.
    """
    try:
        tree = ElementTree.parse(path)
    except OSError as error:
        raise ValueError("no such XML file") from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(f"XML cut off or damaged at line {line}, column {column}") from error
    objects = []
    for number, element in enumerate(tree.iterfind("object"), start=1):
        name = (element.findtext("name") or "").strip()
        ends = [element.findtext(f"bndbox/{end}") for end in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x0, y0, x1, y1 = (float(end or "") for end in ends)
            difficult = bool(int(element.findtext("difficult") or 0))
        except ValueError as error:
            raise ValueError(f"object {number}: bndbox {ends} or difficult is no number") from error
        if not name:
            raise ValueError(f"object {number} has no name")
        objects.append(Object(name, (x0 - 1, y0 - 1, x1, y1), difficult))
    return objects


def _listed(root: Path, image_set: str, download: bool) -> list[tuple[Path, Path]]:
    """Image and XML file of every image in a set."""
    folder, _, split = image_set.rpartition("/")
    base = root / folder
    file = base / "ImageSets" / "Main" / f"{split}.txt"
    year = re.search(r"VOC(\d{4})$", folder)
    if not file.is_file() and download and year:
        VOCDetection(str(root), year=year[1], image_set=split, download=True)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: looked for the image set {image_set!r} and found no file. VOC: type "
            "dataset.train.download=true dataset.val.download=true (torchvision fetches about 2.8 GB to dataset.root) "
            "or unpack the archives of http://host.robots.ox.ac.uk/pascal/VOC/ there. Other data: type dataset.root=, "
            "dataset.train.image_sets=[SET] and dataset.val.image_sets=[SET]"
        )
    names = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    return [(_image_file(base / "JPEGImages", name), base / "Annotations" / f"{name}.xml") for name in names]


def _image_file(folder: Path, name: str) -> Path:
    candidates = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])


def _require_known(found: list[tuple[Path, str]], names: Sequence[str]) -> None:
    """Refuse class names that are not known, and say what to type."""
    for xml, name in found:
        if name not in names:
            occurring = ",".join(sorted({one for _, one in found}))
            raise ValueError(
                f"{xml}: unknown class {name!r}; expected one of {', '.join(names)}. If the data has classes "
                f"of its own, type dataset.class_names=[{occurring}]"
            )
