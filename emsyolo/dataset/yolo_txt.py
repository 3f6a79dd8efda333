"""`yolo_txt`: Ultralytics' folder layout, one text file of boxes per image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsyolo.dataset.check import Ledger, clean_boxes, first, refuse_if_most_lack, require_images
from emsyolo.dataset.data_yaml import DataYaml, read_data_yaml
from emsyolo.dataset.declared import Declared, stored_boxes
from emsyolo.dataset.form.tree import walk
from emsyolo.dataset.images import ImageDataset, plain_record
from emsyolo.dataset.pixels import SUFFIXES
from emsyolo.dataset.verify import image_headers
from emsyolo.dataset.yolo_row import NoBoxError, Row, read_row
from emsyolo.text import read_text, shortlist

log = logging.getLogger(__name__)

NO_LABELS = ("classes.txt", "readme.txt")  # what tools write among label files, in small letters


class YoloTxt(ImageDataset):
    """Images with YOLO text labels: per line `class x y width height`, centre and size as shares of the image.

    Lines with a confidence, an outline, a turned box or keypoints give their upright box, and it is said. `data.yaml`
    in the root says where the images are and what the classes are called, see `read_data_yaml`. The labels of
    `.../images/.../NAME.jpg` are in `.../labels/.../NAME.txt`, else beside the image, or in a folder `labels` there;
    an image without them is background, and how many there are is said. A label file without an image is reported.
    Boxes are of the stored pixels: EXIF's orientation is not applied, and images that have one are named.

    Args:
        root: folder of `data.yaml`.
        split: key of `data.yaml`: `train` or `val` (or `test`).
        class_names: in place of the names in `data.yaml`; the label is the index.
        limit: number of images, from the first on, by name.
        verify: whether all images are read whole when the set is opened, see `verify.image_headers`.
        max_bad: share of the rows that may be left out.
        max_background: share of the images that may have no label file.
        encoding: of text that is not UTF-8 and has no byte order mark.

    Raises:
        FileNotFoundError: no `data.yaml`, or no such folder; says what is expected.
        ValueError: a `data.yaml` that cannot be understood, too many rows that cannot be used (names file and line),
            too many images without a label file, no usable image.
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
    ) -> None:
        settings = read_data_yaml(Path(root), encoding)
        names = settings.class_names if class_names is None else list(class_names)
        name = f"yolo_txt/{split}"
        ledger = Ledger(name, max_bad)
        sources = settings.sources(split)
        paths = list(dict.fromkeys(path for source in sources for path in images_of(source, settings, encoding)))
        headers = image_headers(first(paths, limit), name, verify)
        finder = LabelFinder()
        records, without, rows = [], [], 0
        for place, (path, header) in enumerate(headers.items()):
            file = finder.find(path)
            if file is None:
                without.append(path)
            labels, shares, count = read_labels(file, len(names), settings.keypoints, ledger, encoding)
            rows += count
            height, width = header.size_hw
            stated = Declared(None, shares * [width, height, width, height])
            boxes, _ = stored_boxes(path, stated, header, ledger)
            records.append(plain_record(place, path, header.size_hw, boxes, labels))
        require_images(records, name, f"{', '.join(map(str, sources))} ({len(paths)} images)")
        _report_background(without, len(records), name, finder, max_background)
        ledger.close(rows)
        for source in sources:
            if source.is_dir() and limit is None:
                _report_orphans(source, paths, name)
        super().__init__(clean_boxes(records, name), names, name)


def images_of(source: Path, settings: DataYaml, encoding: str | None) -> list[Path]:
    """The images of a folder, and of folders within, by name; an image itself; or those that a text file lists."""
    if source.is_dir():
        return sorted((path for path in walk(source) if path.suffix.lower() in SUFFIXES), key=lambda path: path.parts)
    if source.suffix.lower() in SUFFIXES:
        return [source]
    lines = [line.strip().replace("\\", "/") for line in read_text(source, encoding).splitlines()]
    return [settings.listed(source, line) for line in lines if line and not line.startswith("#")]


def label_file(image: Path) -> Path:
    """Where the labels of an image belong: the last folder `images` in its path becomes `labels`."""
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


class LabelFinder:
    """Finds label files, in the places where tools put them, whatever the case of `labels` and `.txt`.

    Attributes:
        looked_in: folders that were looked through, whether they exist or not.
    """

    def __init__(self) -> None:
        self.looked_in: dict[Path, None] = {}
        self._files: dict[Path, dict[str, Path]] = {}
        self._folders: dict[Path, list[Path]] = {}

    def find(self, image: Path) -> Path | None:
        """The label file of an image; None if there is none."""
        folder = image.parent
        if folder not in self._folders:
            self._folders[folder] = self._places(image)
        key = f"{image.stem}.txt".lower()
        for place in self._folders[folder]:
            found = self._listed(place)
            exact = found.get(f"{image.stem}.txt") or found.get(key)
            if exact is not None:
                return exact
        return None

    def _places(self, image: Path) -> list[Path]:
        """In order: `labels` for `images`, beside the image, `labels` within its folder and beside it."""
        folder = image.parent
        wanted = [label_file(image).parent, folder, folder / "labels", folder.parent / "labels" / folder.name,
                  folder.parent / "labels"]  # fmt: skip
        places = [self._existing(place) for place in dict.fromkeys(wanted)]
        self.looked_in |= dict.fromkeys(places)
        return places

    def _existing(self, folder: Path) -> Path:
        """The folder, or the one in whose path `labels` is written otherwise."""
        if folder.is_dir():
            return folder
        for i in range(len(folder.parts) - 1, 0, -1):
            if folder.parts[i] != "labels":
                continue
            above = Path(*folder.parts[:i])
            for other in sorted(above.iterdir()) if above.is_dir() else ():
                found = other / Path(*folder.parts[i + 1 :])
                if other.name.lower() == "labels" and found.is_dir():
                    return found
        return folder

    def _listed(self, folder: Path) -> dict[str, Path]:
        """The text files of a folder, by name, and by name in small letters where no other has that."""
        if folder not in self._files:
            try:
                files = [path for path in folder.iterdir() if path.suffix.lower() == ".txt"]
                files.sort(key=lambda path: path.name)
            except OSError:
                files = []
            self._files[folder] = {path.name.lower(): path for path in files} | {path.name: path for path in files}
        return self._files[folder]


def _report_background(without: list[Path], total: int, name: str, finder: LabelFinder, max_background: float) -> None:
    """Say how many images have no label file, and refuse a set in which those are too many."""
    if not without:
        return
    what = "label file. If they are background, type dataset.max_background=1"
    refuse_if_most_lack(without, total, name, what, finder.looked_in, max_background)
    log.info("%s: %d of %d images have no label file and are background; looked in %s", name, len(without), total,
             shortlist(map(str, finder.looked_in)))  # fmt: skip


def _report_orphans(folder: Path, images: list[Path], name: str) -> None:
    """One warning with the label files that have no image."""
    labels = label_file(folder / "NAME").parent
    if labels == folder:  # beside the images, where any text may lie
        return
    expected = {label_file(image) for image in images}
    orphans = sorted(
        path.name
        for path in labels.rglob("*.txt")
        if path not in expected and path.name.lower() not in NO_LABELS and not path.name.startswith("._")
    )
    if orphans:
        log.warning("%s: %d label files without an image: %s", name, len(orphans), shortlist(orphans))


def read_labels(
    file: Path | None, num_classes: int, keypoints: tuple[int, int] | None, ledger: Ledger, encoding: str | None
) -> tuple[list[int], NDArray[np.float64], int]:
    """Labels and boxes `[M, 4]` xyxy, as shares of the image, of a label file, and how many rows it has.

    A row that cannot be used is left out and entered in the ledger.
    """
    rows: list[Row] = []
    count = 0
    try:
        lines = [] if file is None else read_text(file, encoding).split("\n")
    except (ValueError, OSError) as error:
        ledger.leave_out(str(file), str(error).removeprefix(f"{file}: "))
        lines, count = [], 1
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        count += 1
        try:
            row = read_row(line, num_classes, keypoints)
        except NoBoxError as error:
            ledger.leave_out(f"{file}, line {place}", str(error))
            continue
        rows.append(row)
        if row.form is not None and file is not None:
            ledger.note(row.form, file)
    boxes = np.array([row.shares_xyxy for row in rows], dtype=np.float64).reshape(-1, 4)
    return [row.label for row in rows], boxes, count
