"""`auto`: a folder of photographs with boxes in whatever form; what it is is found out, and said."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from emsyolo.dataset.check import Ledger, clean_boxes, first, refuse_if_most_lack, refuse_shares, require_images
from emsyolo.dataset.declared import Declared, drawn_upright, stored_boxes
from emsyolo.dataset.form import coco, cvat, labelme, table, voc, yolo
from emsyolo.dataset.form.lists import split_lists
from emsyolo.dataset.form.reading import Annotated, Reading, Settings, in_order
from emsyolo.dataset.form.split import Division, divided
from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.images import ImageDataset, Record, plain_record
from emsyolo.dataset.verify import Header, image_headers
from emsyolo.text import shortlist
from emsyolo.typed import typed

log = logging.getLogger(__name__)

# Where several hold as many images with boxes, the first is read.
FORMS: dict[str, Callable[[Tree, Settings], Reading]] = {
    "yolo": yolo.read,
    "voc": voc.read,
    "coco": coco.read,
    "cvat": cvat.read,
    "labelme": labelme.read,
    "csv": table.read,
}
EXPECTED = (
    "a data.yaml or .txt files (YOLO), .xml files (PASCAL VOC), a COCO .json, CVAT's annotations.xml, a .json for each "
    "image (LabelMe) or a .csv of boxes; see data/README.md"
)


class Auto(ImageDataset):
    """The images of a folder with boxes in the form that most of them have them in.

    Forms are looked for in all of the folder; `FORMS` has them in the order in which they are preferred, where they
    hold as many images with boxes. YOLO's labels without names of the classes come last there. What was found is said
    once, as long as the folder does not change.

    Training and validation images are those of the folder's own split, see `form.split.divided`; without one, a share
    of the images is validated on, by a hash of their file names. Classes are the same in both, in the order of the
    files where those have numbers for them, else by the alphabet.

    Args:
        root: the folder.
        split: `train` or `val`.
        class_names: in place of those of the files; the label is the index.
        limit: number of images, from the first on, by name.
        verify: whether all images are read whole when the set is opened, see `verify.image_headers`.
        max_bad: share of the annotations, and of the images, that may be left out.
        max_background: share of the images that may have no label file, where that means background (YOLO).
        encoding: of text that is not UTF-8 and has no byte order mark.
        format: the only form that is looked for, a key of `FORMS`; None: all.
        val_share: of the images, where the folder has no split; 1 validates on all of them.
        split_seed: of that.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: nothing was found (says where was looked and what was seen), too much that cannot be used, names
            that several images have, or a class that `class_names` lacks.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
        verify: str = "once",
        max_bad: float = 0.05,
        max_background: float = 0.5,
        encoding: str | None = None,
        format: str | None = None,
        val_share: float = 0.2,
        split_seed: int = 0,
    ) -> None:
        root = Path(str(root)).expanduser()
        settings = Settings(
            name=Path(os.path.normpath(root.absolute())).name or str(root),
            max_bad=max_bad,
            class_names=None if class_names is None else tuple(class_names),
            encoding=encoding,
            form=format,
            max_background=max_background,
            val_share=val_share,
            split_seed=split_seed,
        )
        found = survey(Tree.of(root), settings)
        name = f"{settings.name}/{split}"
        chosen = found.division.train if split == "train" else found.division.val
        if not chosen:
            raise ValueError(f"{name}: dataset.val_share={val_share:g} leaves no image to train on; expected less")
        images = sorted(chosen, key=lambda one: one.path.parts)
        annotated = {one.path: one for one in first(images, limit)}
        headers = image_headers(list(annotated), name, verify)
        of_images = Ledger(name, max_bad, of="images")
        records = _records(annotated, headers, {name: label for label, name in enumerate(found.class_names)}, of_images)
        of_images.close(len(headers))
        require_images(records, name, f"{root} ({len(annotated)} images)")
        if not any(one.in_shares for one in images):
            refuse_shares(records, name)
        super().__init__(clean_boxes(records, name), found.class_names, name)


@dataclass(frozen=True)
class Found:
    """What a folder is.

    Attributes:
        division: the images of both sets.
        class_names: the label is the index.
    """

    division: Division
    class_names: tuple[str, ...]


@lru_cache(maxsize=2)  # both sets are opened one after the other
def survey(tree: Tree, settings: Settings) -> Found:
    """What a folder is, said in two lines.

    Raises:
        ValueError: see `Auto`.
    """
    best, others = _best(tree, settings)
    best.close()
    if not best.objects:
        raise ValueError(f"{tree.root}: read as {best.form} ({tree.names(list(best.files))}), it has not a single box")
    if best.background:
        what = "label file. If they are background, type dataset.max_background=1"
        refuse_if_most_lack(
            best.background, len(best.images), settings.name, what, best.looked_in, settings.max_background
        )
    images = list(best.images.values())
    if not best.declared:
        images = _listed(images, tree, settings, best)
    division = divided(images, settings.val_share, settings.split_seed)
    names = _class_names(best, settings)
    _say(best, others, tree, settings, names, division)
    return Found(division, names)


def _best(tree: Tree, settings: Settings) -> tuple[Reading, list[Reading]]:
    """The form in which most images have boxes, and the others that were found."""
    if settings.form is not None and settings.form not in FORMS:
        raise ValueError(f"dataset.format={settings.form}: expected one of {', '.join(FORMS)}, or null for the best")
    found: list[Reading] = []
    errors: dict[str, Exception] = {}
    for form, read in FORMS.items():
        if settings.form in (None, form):
            try:
                found.append(read(tree, settings))
            except (ValueError, OSError) as error:
                errors[form] = error
    found = sorted((one for one in found if one.seen()), key=lambda one: (-one.matched, one.nameless))
    if errors and not any(one.matched for one in found):
        raise next(iter(errors.values()))
    for form, why in errors.items():
        log.warning("%s: not read as %s: %s", settings.name, form, why)
    if not found:
        raise ValueError(_nothing(tree, settings))
    return found[0], [one for one in found[1:] if one.matched]


def _nothing(tree: Tree, settings: Settings) -> str:
    """What to say of a folder in which no annotations were found."""
    folders = dict.fromkeys([".", *(tree.name(path.parent) for path in tree.files)])
    kinds = Counter(path.suffix.lower() or "without suffix" for path in tree.files)
    seen = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no file"
    looked = f"looked in {shortlist(folders)} and saw {seen}"
    if settings.form is not None:
        return f"{tree.root}: nothing to be read as dataset.format={settings.form}; {looked}; null looks for all forms"
    if not tree.images:
        return f"{tree.root}: no images; {looked}; expected photographs, archives unpacked, and their boxes: {EXPECTED}"
    return (
        f"{tree.root}: {len(tree.images)} images and no boxes for them; {looked}; expected {EXPECTED}. To detect in "
        f"them, type python predict.py {typed('source', tree.images[0].parent)}"
    )


def _listed(images: list[Annotated], tree: Tree, settings: Settings, reading: Reading) -> list[Annotated]:
    """The images with the splits of lists, where there are some."""
    splits, files = split_lists(tree, reading.images, settings.encoding)
    if not any(some - {"train"} for some in splits.values()):  # none, or Darknet's list of all images
        return images
    reading.remarks.append(f"split by {tree.names(files)}")
    return [one.placed(splits.get(one.path, ())) for one in images]


def _class_names(reading: Reading, settings: Settings) -> tuple[str, ...]:
    occurring = in_order(one.name for image in reading.images.values() for one in image.objects)
    if settings.class_names is None:
        return tuple(reading.class_names or occurring)
    unknown = [name for name in occurring if name not in settings.class_names]
    if unknown:
        raise ValueError(
            f"{settings.name}: unknown class {unknown[0]!r}; expected one of {', '.join(settings.class_names)}; type "
            f"{typed('dataset.class_names', reading.class_names or occurring)}, or null for those of the files"
        )
    return settings.class_names


def _say(
    best: Reading,
    others: Sequence[Reading],
    tree: Tree,
    settings: Settings,
    names: Sequence[str],
    division: Division,
) -> None:
    """What the folder is, in two lines."""
    remarks = list(best.remarks)
    if best.background:
        remarks.append(f"{len(best.background)} images have no label file and are background")
    unused = len(set(tree.images) - set(best.images))
    if unused:
        remarks.append(f"{unused} images without annotations are not used")
    for other in others:
        where = f"{other.form} ({tree.names(list(other.files))}, {other.matched} images with boxes)"
        remarks.append(f"also there: {where}; dataset.format={other.form} reads that")
    log.info(
        "%s: read as %s (%s): %d images, %d boxes, %d class%s: %s%s",
        settings.name, best.form, tree.names(list(best.files)), len(best.images), best.objects, len(names),
        "" if len(names) == 1 else "es", shortlist(names), "".join(f"; {remark}" for remark in remarks),
    )  # fmt: skip
    log.info("%s: %s", settings.name, division.said)


def _records(
    annotated: dict[Path, Annotated], headers: dict[Path, Header], label_of: dict[str, int], of_images: Ledger
) -> list[Record]:
    """The records of the images that are whole and of the size that was annotated."""
    stated = {path: _declared(annotated[path], header) for path, header in headers.items()}
    upright = drawn_upright(stated, headers)
    records = []
    for place, (path, one) in enumerate(annotated.items()):
        if path not in headers:
            continue
        try:
            boxes, factor = stored_boxes(path, stated[path], headers[path], of_images, upright=upright)
        except ValueError as error:
            of_images.leave_out(str(path), str(error))
            continue
        sides = boxes[:, 2:] - boxes[:, :2]
        areas = [own if object.area is None else object.area * factor
                 for object, own in zip(one.objects, sides.prod(axis=1), strict=True)]  # fmt: skip
        records.append(
            plain_record(
                place, path, headers[path].size_hw, boxes, [label_of[object.name] for object in one.objects],
                crowd=[object.crowd for object in one.objects],
                difficult=[object.difficult for object in one.objects], area=areas,
            )
        )  # fmt: skip
    return records


def _declared(one: Annotated, header: Header) -> Declared:
    boxes = np.array([object.box_xyxy for object in one.objects], dtype=np.float64).reshape(-1, 4)
    height, width = header.size_hw
    return Declared(None, boxes * [width, height, width, height]) if one.in_shares else Declared(one.size_hw, boxes)
