"""`voc`: PASCAL VOC 2007 and 2012, and any other data set with VOC's XML files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from torchvision.datasets import VOCDetection

from emsyolo.dataset.check import (
    Ledger,
    clean_boxes,
    first,
    refuse_if_most_lack,
    refuse_shares,
    report_left_out,
    require_images,
)
from emsyolo.dataset.declared import Declared, drawn_upright, stored_boxes
from emsyolo.dataset.form.reading import Object
from emsyolo.dataset.images import ImageDataset, Record, plain_record
from emsyolo.dataset.pixels import SUFFIXES
from emsyolo.dataset.values import class_name, flag, inside, number
from emsyolo.dataset.verify import Header, image_headers
from emsyolo.text import decoded, read_text
from emsyolo.typed import typed

CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
ENDS = ("xmin", "ymin", "xmax", "ymax")
DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
ENCODING = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([^\"']*)[\"']")
NO_XML = "no such XML file"
OTHER = "no VOC annotation"
Index = Callable[[Path, tuple[str, ...]], Mapping[str, Path]]


class VOC(ImageDataset):
    """Images with one XML file each, listed by image sets.

    VOC counts pixels from 1 and includes both ends of a box: xmin and ymin are lowered by 1, xmax and ymax stay, so
    that a box covers its pixels in our convention. Boxes marked difficult are kept and ignored. An image whose XML is
    missing or damaged is left out, and so is an object without a name or numbers; both are named. Where the XML states
    another size than the image has, the boxes are brought to the stored pixels, or the image is left out.

    Args:
        root: folder of the data set.
        image_sets: folder within the root, a slash, and the set: `VOCdevkit/VOC2007/trainval` means the images that
            `VOCdevkit/VOC2007/ImageSets/Main/trainval.txt` lists; one without a folder (`trainval`) is of the root.
        class_names: the label is the index; None means VOC's twenty.
        download: fetch sets that are missing, with torchvision, from the challenge's server.
        limit: number of images, from the first on.
        verify: whether all images are read whole when the set is opened, see `verify.image_headers`.
        max_bad: share of the objects (and of the images by their sizes) that may be left out.
        encoding: of lists and XML files that are not UTF-8 and state no other.

    Raises:
        FileNotFoundError: an image set that is not there; says how to get VOC.
        ValueError: an object of an unknown class, most images without XML, too many objects that cannot be used, or no
            usable image.
    """

    def __init__(
        self,
        root: str | Path,
        image_sets: Sequence[str],
        class_names: Sequence[str] | None = None,
        download: bool = False,
        limit: int | None = None,
        verify: str = "once",
        max_bad: float = 0.05,
        encoding: str | None = None,
    ) -> None:
        name = f"voc/{'+'.join(image_sets)}"
        names = CLASS_NAMES if class_names is None else tuple(class_names)
        ledger, of_images = Ledger(name, max_bad), Ledger(name, max_bad, of="images")
        listed: dict[Path, Path] = {}
        for image_set in image_sets:
            listed |= _listed(Path(root), image_set, download, encoding)
        listed = dict(first(list(listed.items()), limit))
        found = _read(listed, ledger, name, encoding)
        total = sum(len(value.objects) + len(value.odd) for value in found.values())
        ledger.close(total)
        _require_known([(listed[image], one.name) for image, xml in found.items() for one in xml.objects], names)
        headers = image_headers(list(found), name, verify)
        records = _records(found, headers, {name: label for label, name in enumerate(names)}, of_images)
        of_images.close(len(headers))
        require_images(records, name, f"{root} for the {len(listed)} images of {', '.join(image_sets)}")
        refuse_shares(records, name)
        super().__init__(clean_boxes(records, name), names, name)


@dataclass(frozen=True)
class Annotation:
    """What a VOC annotation file says.

    Attributes:
        objects: those that can be used.
        odd: of each of the others, why it cannot.
        size_hw: of the image as stated, px; None if not, or 0.
        file_name: of the image as stated, which other tools may have renamed; empty if not.
    """

    objects: list[Object]
    odd: list[str]
    size_hw: tuple[int, int] | None
    file_name: str = ""


def _read(listed: dict[Path, Path], ledger: Ledger, name: str, encoding: str | None) -> dict[Path, Annotation]:
    """The annotations of every image whose XML file can be read; the others are left out and named."""
    found, broken = {}, {}
    for image, xml in listed.items():
        try:
            found[image] = read_xml(xml, encoding)
        except ValueError as error:
            broken[xml] = str(error)
            continue
        for reason in found[image].odd:
            ledger.leave_out(str(xml), reason)
    missing = [xml for xml, reason in broken.items() if reason == NO_XML]
    refuse_if_most_lack(missing, len(listed), name, "XML file", dict.fromkeys(xml.parent for xml in missing))
    report_left_out(broken, len(listed), name)
    return found


def _records(
    found: dict[Path, Annotation], headers: dict[Path, Header], label_of: dict[str, int], of_images: Ledger
) -> list[Record]:
    """The records of the images that are whole and of the size that was annotated, numbered as they were listed."""
    stated = {
        image: Declared(
            found[image].size_hw, np.array([box.box_xyxy for box in found[image].objects], float).reshape(-1, 4)
        )
        for image in headers
    }
    upright = drawn_upright(stated, headers)
    records = []
    for place, (image, xml) in enumerate(found.items()):
        if image not in headers:
            continue
        try:
            boxes, _ = stored_boxes(image, stated[image], headers[image], of_images, upright=upright)
        except ValueError as error:
            of_images.leave_out(str(image), str(error))
            continue
        labels = [label_of[box.name] for box in xml.objects]
        difficult = [box.difficult for box in xml.objects]
        records.append(plain_record(place, image, headers[image].size_hw, boxes, labels, difficult=difficult))
    return records


def read_xml(path: Path, encoding: str | None = None) -> Annotation:
    """The objects of a VOC annotation file, also in a namespace or below another root.

    Args:
        path: of the file.
        encoding: of a file that is not UTF-8 and states no other.

    Raises:
        ValueError: missing, damaged, or no VOC annotation; the message is only the reason.
    """
    root = xml_root(path, encoding)
    elements = list(root.iter("object"))
    if not elements and root.tag != "annotation" and root.find(".//annotation") is None:
        raise ValueError(f"{OTHER}: its root is <{root.tag}>")
    objects, odd = [], []
    for place, element in enumerate(elements, start=1):
        try:
            objects.append(_object(element))
        except ValueError as error:
            odd.append(f"object {place}: {error}")
    sides = [root.findtext(f".//size/{side}") or "" for side in ("height", "width")]
    size = [int(float(side)) if re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", side) else 0 for side in sides]
    file_name = (root.findtext(".//filename") or "").strip()
    return Annotation(objects, odd, (size[0], size[1]) if min(size) > 0 else None, file_name)


def xml_root(path: Path, encoding: str | None = None) -> ElementTree.Element:
    """The root of an XML file, its tags without namespace. Python decodes it, for expat knows few encodings.

    Raises:
        ValueError: missing or damaged; the message is only the reason.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(NO_XML) from error
    stated = ENCODING.match(data)
    codec = stated[1].decode("ascii", "replace") if stated else encoding
    try:
        codecs.lookup(codec or "utf-8")
    except (LookupError, ValueError) as error:
        raise ValueError(f"states the encoding {codec!r}, which is none") from error
    try:
        text = decoded(data, path, codec)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path}: ")) from error
    if "<!ENTITY" in text:
        raise ValueError("declares entities of its own, which can grow without end")
    try:
        root = ElementTree.fromstring(DECLARATION.sub("", text, count=1))
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(f"XML cut off or damaged at line {line}, column {column}") from error
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def _object(element: ElementTree.Element) -> Object:
    name = class_name(element.findtext("name"), "name")
    if element.find("bndbox") is None:
        raise ValueError(f"{name!r} has no bndbox")
    x0, y0, x1, y1 = (number(element.findtext(f"bndbox/{end}"), f"{end} of {name!r}") for end in ENDS)
    difficult = flag(element.findtext("difficult"), f"difficult of {name!r}")
    return Object(name, (x0 - 1, y0 - 1, x1, y1), difficult)


def _listed(root: Path, image_set: str, download: bool, encoding: str | None) -> dict[Path, Path]:
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
    images, annotations = base / "JPEGImages", base / "Annotations"
    index = cache(_by_stem)
    pairs = {}
    for place, line in enumerate(read_text(file, encoding).splitlines(), start=1):
        if line.strip():
            name = _name(line.strip(), images, annotations, index)
            image = inside(root, images, f"{name}{SUFFIXES[0]}", f"{file}, line {place}")
            xml = inside(root, annotations, f"{name}.xml", f"{file}, line {place}")
            # JPEGImages may hold other suffixes, and Windows tools write .XML.
            pairs[index(image.parent, SUFFIXES).get(Path(name).name, image)] = index(xml.parent, (".xml",)).get(
                Path(name).name, xml
            )
    return pairs


def _name(line: str, images: Path, annotations: Path, index: Index) -> str:
    """The name that a line of an image set means, without folder and suffix.

    A line is a name, which may have blanks; a name and -1, 0 or 1, as in the sets of single classes; or the path of an
    image, by itself or before that of its XML file.
    """
    fields = line.split()
    readings = [line]
    if len(fields) > 1:
        marked = fields[-1] in ("-1", "0", "1")
        readings += [line[: line.rindex(fields[-1])].strip(), fields[0]] if marked else [fields[0]]
    names = [_stem(reading.replace("\\", "/")) for reading in readings]
    for name in names:
        stem = Path(name).name
        if stem in index((images / name).parent, SUFFIXES) or stem in index((annotations / name).parent, (".xml",)):
            return name
    return names[1] if len(names) == 3 else names[0]


def _stem(path: str) -> str:
    """A name without the folder JPEGImages and what is before it, and without the suffix of an image."""
    name = path.rpartition("JPEGImages/")[2].rpartition("Annotations/")[2].removeprefix("./")
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in (*SUFFIXES, ".xml") else name


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder with one of these suffixes, in small letters or not, by their names without it."""
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    except OSError:
        return {}
    # Of several the first suffix stays, in small letters if there is a choice.
    files.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path.suffix.isupper()), reverse=True)
    return {path.stem: path for path in files}


def _require_known(found: list[tuple[Path, str]], names: Sequence[str]) -> None:
    """Refuse class names that are not known, and say what to type."""
    known = set(names)
    for xml, name in found:
        if name not in known:
            occurring = sorted({name for _, name in found})
            raise ValueError(
                f"{xml}: unknown class {name!r}; expected one of {', '.join(names)}. If the data has classes "
                f"of its own, type {typed('dataset.class_names', occurring)}"
            )
