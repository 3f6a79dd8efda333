"""`pedro`: people before a moving DAVIS346 event camera, in windows of 40 ms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.npy import first_and_last
from emsyolo.dataset.labelled import Labelled, LabelledDataset, report_left_out
from emsyolo.dataset.voc import read_xml
from emsyolo.dataset.yolo_row import read_row
from emsyolo.text import read_text

SENSOR_HW = (260, 346)
FORMS = {"yolo": ".txt", "xml": ".xml"}
LAYOUT = (
    "expected FOLDER/numpy/train/frame0000000.npy with FOLDER/yolo/train/frame0000000.txt or FOLDER/xml/train/"
    "frame0000000.xml; type dataset.root=FOLDER. PEDRo: github.com/SSIGPRO/PEDRo-Event-Based-Dataset"
)


class Pedro(LabelledDataset):
    """Windows of events, a file each, with boxes that hold at its end; one sample per file that has boxes.

    Boretti et al., PEDRo, CVPRW 2023. Its two forms of boxes agree: the XML files count px from 0 and leave the far end
    out, as its YOLO files do, and not as VOC does.

    Args:
        root: folder of `numpy`, `yolo` and `xml`.
        split: `train`, `val` or `test`.
        class_names: one.
        boxes: which form of boxes is read, `yolo` or `xml`.
        options: of `LabelledDataset`.

    Raises:
        FileNotFoundError: no such folder; says what is expected.
        ValueError: an unknown form; as `LabelledDataset`, or no window with its boxes can be read.
    """

    def __init__(
        self, root: str | Path, split: str, class_names: Sequence[str], *, boxes: str = "yolo", **options: Any
    ) -> None:
        root = Path(root)
        if boxes not in FORMS:
            raise ValueError(f"dataset...boxes={boxes!r} is unknown; expected one of {', '.join(FORMS)}")
        folder, of_boxes = root / "numpy" / split, root / boxes / split
        windows = sorted(folder.glob("*.npy"))
        if not windows or not of_boxes.is_dir():
            missing = f"{folder}: looked for windows *.npy" if not windows else f"{of_boxes}: looked for the boxes"
            raise FileNotFoundError(f"{missing} and found none; {LAYOUT}")
        name = f"{root.name}/{split}"
        found, reasons = [], {}
        for window in windows:
            path = window
            try:
                # A window is opened when it is shown: there are 27,000, and the times of its ends are enough here.
                span_us = first_and_last(path)
                path = of_boxes / f"{window.stem}{FORMS[boxes]}"
                rows = _read(path, boxes, span_us[1] + 1, len(class_names))
            except (ValueError, OSError) as error:
                reasons[path.name] = str(error).removeprefix(f"{path}: ")
                continue
            found.append(Labelled(window, SENSOR_HW, span_us, path, rows))
        report_left_out(reasons, 2 * len(windows), name, found)
        super().__init__(found, class_names, name, **options)


def _read(path: Path, form: str, t_us: int, classes: int) -> EventBoxes:
    """The boxes of a window, all of the time `t_us`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a box that cannot be used; names file and, where known, line or object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no box file")
    height, width = SENSOR_HW
    corners, labels = [], []
    if form == "xml":
        annotation = read_xml(path)
        if annotation.odd:
            raise ValueError(f"{path}: {annotation.odd[0]}")
        corners = [np.add(one.box_xyxy, (1, 1, 0, 0)) for one in annotation.objects]
        labels = [0] * len(corners)
    else:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.strip():
                try:
                    row = read_row(line, classes)
                except ValueError as error:
                    raise ValueError(f"{path}: line {number}: {error}") from error
                corners.append(np.multiply(row.shares_xyxy, (width, height, width, height)))
                labels.append(row.label)
    count = len(labels)
    return EventBoxes(
        np.full(count, t_us, np.int64),
        np.array(corners, dtype=np.float64).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.arange(count),
        np.ones(count),
    )
