"""Recordings with their boxes, in whatever files: which boxes are of which class, count, and make a sample."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsyolo.bar import bar
from emsyolo.dataset.check import clean_boxes, first
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.boxes import EventBoxes, last_per_track
from emsyolo.dataset.event.dataset import EventDataset, report_times_outside
from emsyolo.dataset.event.recording import Recording, open_recording
from emsyolo.dataset.images import Record, plain_record
from emsyolo.text import shortlist

log = logging.getLogger(__name__)

PROGRESS_FROM = 100  # recordings
JITTER_US = 2000  # by which labels of a fixed rate may come early; RVT allows as much
ReadBoxes = Callable[[Path, Recording], EventBoxes]
ClassIds = Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class Labelled:
    """A recording that can be read, with its boxes.

    Attributes:
        recording: its file.
        sensor_hw: height and width, px.
        span_us: times of the first and the last event.
        box_file: what a message names.
        boxes: with the file's class numbers.
    """

    recording: Path
    sensor_hw: tuple[int, int]
    span_us: tuple[int, int]
    box_file: Path
    boxes: EventBoxes


class LabelledDataset(EventDataset):
    """One sample per time that has boxes.

    Of several boxes of one track at one time the last counts. Boxes are cropped to the sensor, then filtered, and then
    the labelled times are thinned, in RVT's order (Gehrig and Scaramuzza, CVPR 2023).

    Args:
        found: the recordings with their boxes.
        class_names: the label is the index.
        name: what messages call the set.
        class_ids: the file's class number for each name, or a list of several that become one class; None: 0, 1, ...
            Boxes of other classes are dropped if given.
        box_filter: boxes that are not to be trained on are dropped; None keeps all.
        label_every_us: a labelled time is kept if it is at least so much later than the last that was kept of its
            recording, give or take 2 ms; None keeps all.
        limit: number of samples, from the first on.
        options: of `EventDataset`.

    Raises:
        ValueError: an unknown class (names file and row), class numbers that do not fit the names, or no sample at all.
    """

    def __init__(
        self,
        found: Sequence[Labelled],
        class_names: Sequence[str],
        name: str,
        *,
        class_ids: ClassIds | None = None,
        box_filter: BoxFilter | None = None,
        label_every_us: int | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        labels = labels_by_number(class_ids, class_names)
        records: list[Record] = []
        for one in found:
            boxes = labelled(one, labels, drop_others=class_ids is not None)
            boxes = selected(boxes, one.sensor_hw, box_filter, label_every_us)
            records += records_of(one.recording, one.sensor_hw, boxes, len(records))
        if not records:
            raise ValueError(
                f"{name}: no box in any of {len(found)} recordings is of these classes and passes the filter; see "
                "dataset.class_ids and the box_filter of the set"
            )
        super().__init__(clean_boxes(first(records, limit), name), class_names, name, **options)
        spans = {one.recording: one.span_us for one in found}
        report_times_outside(self.records, spans, self.framing.window_us, name)


def open_pairs(
    pairs: Sequence[tuple[Path, Path]],
    read: ReadBoxes,
    name: str,
    sensor_hw: Sequence[int],
    *,
    check: bool = False,
    reasons: Mapping[str, str] | None = None,
) -> list[Labelled]:
    """The recordings that can be read, with their boxes; the others are left out and named.

    Args:
        pairs: recording and box file.
        read: the boxes in a box file; takes the recording, too.
        name: of the data set.
        sensor_hw: height and width where a recording does not say, px.
        check: read every recording through once, and leave out those that are damaged anywhere.
        reasons: files that are left out already, and why.

    Raises:
        ValueError: none can be read; names them.
    """
    left_out = dict(reasons or {})
    size = (int(sensor_hw[0]), int(sensor_hw[1]))
    found = []
    hidden = len(pairs) < PROGRESS_FROM and not check
    for recording_file, box_file in bar(pairs, f"opening {name}", hidden=hidden):
        path = recording_file
        try:
            recording = open_recording(path, size)
            if check:
                recording.check()
            path = box_file
            boxes = read(path, recording)
        except (ValueError, OSError) as error:
            left_out[path.name] = str(error).removeprefix(f"{path}: ")
            continue
        span_us = (recording.first_us, recording.last_us)
        found.append(Labelled(recording_file, recording.sensor_hw or size, span_us, box_file, boxes))
    report_left_out(left_out, 2 * len(pairs) + len(reasons or {}), name, found)
    return found


def report_left_out(reasons: Mapping[str, str], files: int, name: str, found: Sequence[object]) -> None:
    """One warning with the files that are left out, and why.

    Raises:
        ValueError: nothing was found besides them.
    """
    if not reasons:
        return
    listed = shortlist(f"{file} ({reason})" for file, reason in reasons.items())
    if not found:
        raise ValueError(f"{name}: no recording with its boxes can be read: {listed}")
    log.warning("%s: %d of %d files left out: %s", name, len(reasons), files, listed)


def folders_of(root: Path, split: str, layout: str, of: str = "recordings") -> list[Path]:
    """The folders of a split, a name or a pattern as `train_h5_*`: in the root, or one folder further down.

    Args:
        root: of the data set.
        split: name or pattern.
        layout: what a message says is expected.
        of: what lies in them.

    Raises:
        FileNotFoundError: there is none.
    """
    for pattern in (split, f"*/{split}"):
        folders = sorted(path for path in root.glob(pattern) if path.is_dir())
        if folders:
            return folders
    raise FileNotFoundError(f"{root / split}: looked for the folder of the {of} and found none; {layout}")


def sequences_in(
    folders: Sequence[Path], names: Sequence[str] | None, without: Sequence[str] | None = None
) -> list[Path]:
    """The folders of the sequences in the folders of a split, by name.

    Args:
        folders: of the split.
        names: which are taken; None: all.
        without: which of them are not.

    Raises:
        FileNotFoundError: one of the names is not there.
    """
    there = {path.name: path for folder in folders for path in sorted(folder.iterdir()) if path.is_dir()}
    missing = [one for one in map(str, names or ()) if one not in there]
    if missing:
        looked = shortlist(map(str, folders))
        raise FileNotFoundError(
            f"{looked}: looked for the sequences {shortlist(missing)} and found only {shortlist(there)}; type those "
            "that are there"
        )
    wanted = set(there if names is None else map(str, names)) - set(map(str, without or ()))
    return [path for one, path in there.items() if one in wanted]


def share_of(name: str) -> float:
    """A number in [0, 1) that depends on the name only: a split by it is the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def labels_by_number(class_ids: ClassIds | None, class_names: Sequence[str]) -> dict[int, int]:
    """The label of every class number of the files.

    Raises:
        ValueError: not one entry for each name, an entry that is no number or list of some, or a number twice.
    """
    entries = list(range(len(class_names)) if class_ids is None else class_ids)
    if len(entries) != len(class_names):
        raise ValueError(
            f"dataset.class_ids={entries}; expected a class number, or a list of them, for each of {list(class_names)}"
        )
    labels: dict[int, int] = {}
    for label, entry in enumerate(entries):
        for number in [entry] if isinstance(entry, int) else entry:
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"dataset.class_ids={entries}: {number!r} is no class number; expected whole numbers")
            if number in labels:
                raise ValueError(
                    f"dataset.class_ids={entries}: {number} stands there twice, for {class_names[labels[number]]} and "
                    f"{class_names[label]}; expected every number once"
                )
            labels[number] = label
    return labels


def labelled(one: Labelled, labels: Mapping[int, int], *, drop_others: bool) -> EventBoxes:
    """The boxes with the label in place of the file's class number.

    Raises:
        ValueError: another class number, unless those are dropped; names file and row.
    """
    boxes = one.boxes
    known = np.isin(boxes.class_id, list(labels))
    if not known.all() and not drop_others:
        row = int((~known).argmax())
        raise ValueError(
            f"{one.box_file}, row {row}: class_id {boxes.class_id[row]}; expected one of {list(labels)} "
            "(dataset.class_names in order); to drop or merge classes, type dataset.class_ids=[...]"
        )
    kept = boxes.select(known)
    return replace(kept, class_id=np.array([labels[number] for number in kept.class_id.tolist()], dtype=np.int64))


def selected(
    boxes: EventBoxes, sensor_hw: tuple[int, int], box_filter: BoxFilter | None, label_every_us: int | None
) -> EventBoxes:
    """The boxes that make samples, in the order of time; see `LabelledDataset`.

    Raises:
        ValueError: `label_every_us` below 1.
    """
    if label_every_us is not None and label_every_us < 1:
        raise ValueError(f"dataset.label_every_us={label_every_us}: expected microseconds, at least 1, or null")
    boxes = last_per_track(boxes)
    boxes = boxes.select(np.argsort(boxes.t_us, kind="stable"))
    if box_filter is not None:
        height, width = sensor_hw
        corners = np.clip(boxes.boxes_xyxy, 0, [width, height, width, height])
        times, place = np.unique(boxes.t_us, return_inverse=True)
        in_time = np.array([box_filter.in_time(t_us) for t_us in times.tolist()], dtype=bool)[place]
        boxes = boxes.select(box_filter.keep(corners[:, 2:] - corners[:, :2], width) & in_time)
    if label_every_us is not None:
        boxes = boxes.select(np.isin(boxes.t_us, thinned(np.unique(boxes.t_us), label_every_us)))
    return boxes


def thinned(times_us: NDArray[np.int64], every_us: int) -> NDArray[np.int64]:
    """Of ascending times the first, and each that is `every_us` (less 2 ms, or a tenth) or more after the last kept."""
    step = every_us - min(JITTER_US, every_us // 10)
    kept, place = [], 0
    while place < len(times_us):
        kept.append(times_us[place])
        place = int(np.searchsorted(times_us, times_us[place] + step))
    return np.array(kept, dtype=np.int64)


def records_of(path: Path, sensor_hw: tuple[int, int], boxes: EventBoxes, number: int) -> list[Record]:
    """One record per time of boxes in the order of time, numbered from `number`."""
    times, starts = np.unique(boxes.t_us, return_index=True)
    groups = zip(np.split(boxes.boxes_xyxy, starts[1:]), np.split(boxes.class_id, starts[1:]), strict=True)
    return [
        plain_record(number + i, path, sensor_hw, *group, name=f"{path.name} at {t_us / 1e6:.3f} s", t_us=t_us)
        for i, (t_us, group) in enumerate(zip(times.tolist(), groups, strict=False))
    ]
