"""`prophesee`: recordings with box files beside them, as Prophesee's data sets are (Gen1, 1 Mpx, and our own)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.progress import track

from emsyolo.dataset.check import clean_boxes, first
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.boxes import EventBoxes, last_per_track, read_boxes
from emsyolo.dataset.event.dataset import EventDataset, report_times_outside
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.images import Record, plain_record
from emsyolo.text import shortlist

log = logging.getLogger(__name__)

RECORDING, BOXES = "_td.dat", "_bbox.npy"
PROGRESS_FROM = 100  # recordings
LAYOUT = (
    f"expected FOLDER/train, FOLDER/val and FOLDER/test with NAME{RECORDING} and NAME{BOXES} in each; type "
    "dataset.root=FOLDER. Gen1 comes from Prophesee (GEN1 Automotive Detection Dataset, 7z archives)"
)


class Prophesee(EventDataset):
    """Recordings `NAME_td.dat` with boxes `NAME_bbox.npy`; one sample per time that has boxes.

    Of several boxes of one track at one time the last counts. Recordings that cannot be read, or whose box file is not
    there or cannot be read, and box files without a recording, are left out and named.

    Args:
        root: folder of the splits.
        split: `train`, `val` or `test`.
        class_names: the label is the index.
        class_ids: the file's class number for each name; None: 0, 1, ... Boxes of other classes are dropped if given.
        sensor_hw: height and width of the sensor where a recording does not say, px.
        box_filter: boxes that are not to be trained on are dropped; None keeps all.
        check: read every recording through once, and leave out those that are damaged anywhere.
        limit: number of samples, from the first on.
        options: of `EventDataset`.

    Raises:
        FileNotFoundError: no such folder; says what is expected.
        ValueError: an unknown class (names file and row), or no sample at all.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str] | None,
        *,
        class_ids: Sequence[int] | None = None,
        sensor_hw: Sequence[int] = (240, 304),
        box_filter: BoxFilter | None = None,
        check: bool = False,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        folder = split_folder(Path(root), split)
        if class_names is None:
            raise ValueError(
                f"dataset.class_names is not given, and {folder} has only class numbers; type the names in their "
                "order, for example dataset.class_names=[car,pedestrian]"
            )
        name = f"{Path(root).name}/{split}"
        ids = list(range(len(class_names)) if class_ids is None else class_ids)
        if len(ids) != len(class_names):
            raise ValueError(f"dataset.class_ids={ids}; expected one number for each of {list(class_names)}")
        records: list[Record] = []
        pairs = _pairs(folder, name, (sensor_hw[0], sensor_hw[1]), check)
        for pair in pairs:
            found = _labelled(pair.boxes, ids, pair.box_file, drop_others=class_ids is not None)
            records += _records(pair, found, box_filter, len(records))
        if not records:
            raise ValueError(f"{name}: no box in any recording; looked in {folder}")
        super().__init__(clean_boxes(first(records, limit), name), class_names, name, **options)
        report_times_outside(self.records, {one.recording: one.span_us for one in pairs}, self.framing.window_us, name)


def split_folder(root: Path, split: str) -> Path:
    """The folder of a split: in the root, or, as the archives unpack, one folder further down.

    Raises:
        FileNotFoundError: there is none.
    """
    for folder in (root / split, *sorted(root.glob(f"*/{split}"))):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{root / split}: looked for the folder of the recordings and found none; {LAYOUT}")


@dataclass(frozen=True)
class _Pair:
    """A recording that can be read, with its boxes: `sensor_hw` in px, times of the first and the last event in us."""

    recording: Path
    sensor_hw: tuple[int, int]
    span_us: tuple[int, int]
    box_file: Path
    boxes: EventBoxes


def _pairs(folder: Path, name: str, sensor_hw: tuple[int, int], check: bool) -> list[_Pair]:
    """The pairs of a folder that can be read, by name."""
    recordings = {path.name.removesuffix(RECORDING): path for path in sorted(folder.rglob(f"*{RECORDING}"))}
    boxes = {path.name.removesuffix(BOXES): path for path in sorted(folder.rglob(f"*{BOXES}"))}
    if not recordings:
        raise FileNotFoundError(f"{folder}: looked for *{RECORDING} and found none; {LAYOUT}")
    reasons = {f"{key}{BOXES}": "no recording" for key in sorted(boxes.keys() - recordings.keys())}
    reasons |= {f"{key}{RECORDING}": "no box file" for key in sorted(recordings.keys() - boxes.keys())}
    pairs = []
    shared = sorted(recordings.keys() & boxes.keys())
    hidden = len(shared) < PROGRESS_FROM and not check
    for one in track(shared, description=escape(f"opening {name}"), transient=True, disable=hidden):
        path = recordings[one]
        try:
            recording = open_recording(path, sensor_hw)
            if check:
                recording.check()
            path = boxes[one]
            found = read_boxes(path)
        except (ValueError, OSError) as error:
            reasons[path.name] = str(error).removeprefix(f"{path}: ")
            continue
        span_us = (recording.first_us, recording.last_us)
        pairs.append(_Pair(recording.path, recording.sensor_hw or sensor_hw, span_us, path, found))
    if reasons:
        listed = shortlist(f"{file} ({reason})" for file, reason in reasons.items())
        if not pairs:
            raise ValueError(f"{name}: no recording with its boxes can be read; looked in {folder}: {listed}")
        log.warning("%s: %d of %d files left out: %s", name, len(reasons), len(recordings) + len(boxes), listed)
    return pairs


def _labelled(boxes: EventBoxes, ids: list[int], file: Path, *, drop_others: bool) -> EventBoxes:
    """The boxes with the label in place of the file's class number."""
    known = np.isin(boxes.class_id, ids)
    if not known.all() and not drop_others:
        row = int((~known).argmax())
        raise ValueError(
            f"{file}, row {row}: class_id {boxes.class_id[row]}; expected one of {ids} (dataset.class_names in order); "
            "to drop other classes, type dataset.class_ids=[...]"
        )
    kept = boxes.select(known)
    label_of = {number: label for label, number in enumerate(ids)}
    labels = np.array([label_of[number] for number in kept.class_id.tolist()], dtype=np.int64)
    return EventBoxes(kept.t_us, kept.boxes_xyxy, labels, kept.track_id, kept.confidence)


def _records(pair: _Pair, boxes: EventBoxes, box_filter: BoxFilter | None, number: int) -> list[Record]:
    """One record per time that has boxes, numbered from `number`."""
    path, size_hw = pair.recording, pair.sensor_hw
    boxes = last_per_track(boxes)
    if box_filter is not None:
        corners = boxes.boxes_xyxy
        in_time = np.array([box_filter.in_time(int(t)) for t in boxes.t_us], dtype=bool)
        boxes = boxes.select(box_filter.keep(corners[:, 2:] - corners[:, :2]) & in_time)
    boxes = boxes.select(np.argsort(boxes.t_us, kind="stable"))
    times, starts = np.unique(boxes.t_us, return_index=True)
    groups = zip(np.split(boxes.boxes_xyxy, starts[1:]), np.split(boxes.class_id, starts[1:]), strict=True)
    return [
        plain_record(number + i, path, size_hw, *group, name=f"{path.name} at {t_us / 1e6:.3f} s", t_us=t_us)
        for i, (t_us, group) in enumerate(zip(times.tolist(), groups, strict=False))
    ]
