"""`yolo_txt`: Ultralytics' folder layout, one text file of boxes per image."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from emsyolo.dataset.check import clean_boxes, first, image_sizes, require_images, shortlist
from emsyolo.dataset.images import ImageDataset, plain_record

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
LAYOUT = (
    "expected data.yaml with `train: train/images`, `val: val/images` and `names: [...]`, and for each image "
    ".../images/NAME.jpg a file .../labels/NAME.txt; type dataset.root=FOLDER"
)


class YoloTxt(ImageDataset):
    """Images with YOLO text labels: per line `class x y width height`, centre and size as shares of the image.

    `data.yaml` in the root says where the images are (`path`, `train`, `val`: folders, or text files that list images)
    and what the classes are called. The labels of `.../images/.../NAME.jpg` are in `.../labels/.../NAME.txt`; an image
    without them is background. A label file without an image is reported by name.

    Args:
        root: folder of `data.yaml`.
        split: key of `data.yaml`: `train` or `val` (or `test`).
        class_names: in place of the names in `data.yaml`; the label is the index.
        limit: only the first so many images, by name.

    Raises:
        FileNotFoundError: no `data.yaml`, or no such folder; says what is expected.
        ValueError: a `data.yaml` or a label file that cannot be understood (names file and line), a class number out of
            range, no usable image.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        file = Path(root) / "data.yaml"
        settings = read_settings(file)
        names = _names(settings, file) if class_names is None else list(class_names)
        name = f"yolo_txt/{split}"
        paths: list[Path] = []
        for source in _sources(settings, split, file):
            listed = _images_of(source)
            if source.is_dir():
                _report_orphans(source, listed, name)
            paths += listed
        sizes = image_sizes(first(paths, limit), name)
        records = []
        for number, (path, size_hw) in enumerate(sizes.items()):
            labels, boxes = read_labels(label_file(path), len(names))
            height, width = size_hw
            records.append(plain_record(number, path, size_hw, boxes * [width, height, width, height], labels))
        require_images(records, name, f"{', '.join(map(str, _sources(settings, split, file)))} ({len(paths)} images)")
        super().__init__(clean_boxes(records, name), names, name)


def read_settings(file: Path) -> dict[str, Any]:
    """The content of a `data.yaml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or no mapping.
    """
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileNotFoundError(f"{file}: looked for it and found none; {LAYOUT}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: no keys; {LAYOUT}")
    return settings


def _names(settings: dict[str, Any], file: Path) -> list[str]:
    """The class names, given as a list or as number to name."""
    names = settings.get("names")
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{file}: names={names!r}; expected a list, or numbers from 0 on with a name each")
    return [str(name) for name in names]


def _sources(settings: dict[str, Any], split: str, file: Path) -> list[Path]:
    """The folders, or lists of images, that `data.yaml` gives for a split."""
    value = settings.get(split)
    entries: list[Any] = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"{file}: {split}={value!r}; expected a folder of images, or a list of folders")
    base = file.parent / str(settings.get("path") or ".")
    sources = []
    for entry in entries:
        # Roboflow writes ../train/images for what lies beside data.yaml.
        candidates = [base / entry, file.parent / entry.removeprefix("../")]
        existing = [path for path in candidates if path.exists()]
        if not existing:
            raise FileNotFoundError(f"{candidates[0]}: {file} names it as {split}, but there is none; {LAYOUT}")
        sources.append(existing[0])
    return sources


def _images_of(source: Path) -> list[Path]:
    """The images of a folder, and of folders within, by name; or those that a text file lists, in its order."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [source.parent / line.strip() for line in source.read_text().splitlines() if line.strip()]


def label_file(image: Path) -> Path:
    """Where the labels of an image are: the last folder `images` in its path becomes `labels`."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _report_orphans(folder: Path, images: list[Path], name: str) -> None:
    """One warning with the label files that have no image."""
    labels = label_file(folder / "NAME").parent
    expected = {label_file(image) for image in images}
    orphans = [path for path in sorted(labels.rglob("*.txt")) if path not in expected and path.name != "classes.txt"]
    if orphans:
        log.warning(
            "%s: %d label files without an image: %s", name, len(orphans), shortlist(path.name for path in orphans)
        )


def read_labels(file: Path, num_classes: int) -> tuple[list[int], NDArray[np.float64]]:
    """Labels and boxes `[M, 4]` xyxy, as shares of the image, of a label file; none if there is no such file.

    Raises:
        ValueError: a line that is not `class x y width height`, or a class number out of range; names file and line.
    """
    labels, boxes = [], []
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            label = int(fields[0])
            x, y, width, height = (float(value) for value in fields[1:])
            if not all(map(math.isfinite, (x, y, width, height))):
                raise ValueError(line)
        except ValueError as error:
            raise ValueError(
                f"{file}, line {number}: {line!r}; expected `class x y width height`, a whole number and four shares"
            ) from error
        if not 0 <= label < num_classes:
            raise ValueError(f"{file}, line {number}: class {label}; expected 0 to {num_classes - 1}")
        labels.append(label)
        boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return labels, np.array(boxes, dtype=np.float64).reshape(-1, 4)
