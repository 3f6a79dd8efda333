"""`rvt_tree`: Gen1 and 1 Mpx as the preprocessing of RVT leaves them, frames of events in HDF5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emsyolo.bar import bar
from emsyolo.dataset.check import clean_boxes, first
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.boxes import EventBoxes, boxes_of
from emsyolo.dataset.event.framing import Representation
from emsyolo.dataset.event.hdf5_file import OpenFile, reading
from emsyolo.dataset.event.npy import MAX_TIME_US, read_npy, read_npz, whole_numbers
from emsyolo.dataset.event.representation import BYTE, Counts
from emsyolo.dataset.images import ImageDataset, Record, targets_of
from emsyolo.dataset.labelled import (
    PROGRESS_FROM,
    ClassIds,
    Labelled,
    labelled,
    labels_by_number,
    records_of,
    report_left_out,
    selected,
)
from emsyolo.types import Sample, Targets

BINS, CUTOFF, WINDOW_US = 10, 10, 50_000
LABELS, TIMES = "labels_v2/labels.npz", "labels_v2/timestamps_us.npy"
REPRESENTATION = "event_representations_v2/stacked_histogram_dt=50_nbins=10"
FRAMES = ("event_representations.h5", "event_representations_ds2_nearest.h5")
STEPS = "objframe_idx_2_repr_idx.npy"
OPEN_FILES = 256
LAYOUT = (
    f"expected FOLDER/train/RECORDING/{LABELS}, {TIMES} and {REPRESENTATION}/{FRAMES[0]} (or {FRAMES[1]}), {STEPS}; "
    "type dataset.root=FOLDER. RVT: github.com/uzh-rpg/RVT"
)


class RvtTree(ImageDataset):
    """Frames of 50 ms in ten bins of two polarities, made by RVT's preprocessing; one sample per labelled frame.

    Gehrig and Scaramuzza, RVT, CVPR 2023. A frame has twenty channels of counts up to ten: there `10 * polarity + bin`,
    here, as `Counts(micro_bins=10)` gives them, `2 * bin + polarity`. Differs from windows that are framed here: its
    bins divide the time from the first to the last event of a window, both ends included, and counts wrap at 256 before
    they are cut. In frames of half the size three of four pixels were left out, their events with them; boxes are kept
    in px of the sensor, and halved with the frames.

    RVT's public script ends its steps at labels, and puts two of them between labels 250 ms apart: on Gen1 the steps
    are 125 ms apart from the first label on, each showing the last 50 ms, where 50 ms are meant. Only the frames at
    labels are read here, and those are the same.

    Args:
        root: folder of the splits.
        split: `train`, `val` or `test`.
        class_names: the label is the index.
        representation: must be the one that the tree holds.
        steps: frames of a sample, 1.
        window_us: of a frame, 50,000.
        frame_hw: height and width of the frames, if not the sensor's.
        sensor_hw: height and width of the sensor, px; that of the boxes.
        class_ids: see `LabelledDataset`.
        box_filter: see `LabelledDataset`.
        label_every_us: see `LabelledDataset`.
        limit: number of samples, from the first on.
        augment: of events, which are not there: each must be None.

    Raises:
        FileNotFoundError: no such folder; says what is expected.
        ValueError: another form of the input than the tree holds, or no recording can be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str],
        *,
        representation: Representation,
        steps: int,
        window_us: int,
        frame_hw: Sequence[int] | None = None,
        sensor_hw: Sequence[int] = (240, 304),
        class_ids: ClassIds | None = None,
        box_filter: BoxFilter | None = None,
        label_every_us: int | None = None,
        limit: int | None = None,
        augment: Mapping[str, object] | None = None,
    ) -> None:
        _refuse_other_input(representation, steps, window_us, augment)
        folder = Path(root) / split
        recordings = sorted(path for path in folder.glob("*") if path.is_dir())
        if not recordings:
            raise FileNotFoundError(f"{folder}: looked for folders of recordings and found none; {LAYOUT}")
        name = f"{Path(root).name}/{split}"
        size = (int(sensor_hw[0]), int(sensor_hw[1]))
        shape = size if frame_hw is None else (int(frame_hw[0]), int(frame_hw[1]))
        labels = labels_by_number(class_ids, class_names)
        records: list[Record] = []
        found, reasons = [], {}
        self._step_of: dict[tuple[Path, int], int] = {}
        hidden = len(recordings) < PROGRESS_FROM
        for path in bar(recordings, f"opening {name}", hidden=hidden):
            try:
                one = _opened_tree(path, size, shape)
            except (ValueError, OSError) as error:
                reasons[path.name] = str(error).removeprefix(f"{path}/")
                continue
            found.append(one)
            boxes = labelled(one.labelled, labels, drop_others=class_ids is not None)
            boxes = selected(boxes, size, box_filter, label_every_us)
            new = records_of(one.labelled.recording, size, boxes, len(records))
            records += [replace(record, name=f"{path.name} at {(record.t_us or 0) / 1e6:.3f} s") for record in new]
            self._step_of |= {(one.labelled.recording, t_us): step for t_us, step in one.step_at.items()}
        report_left_out(reasons, len(recordings), name, found)
        if not records:
            raise ValueError(
                f"{name}: no box in any of {len(found)} recordings is of these classes and passes the filter"
            )
        super().__init__(clean_boxes(first(records, limit), name), class_names, name)
        self._scale_wh = (shape[1] / size[1], shape[0] / size[0])

    @property
    def channels(self) -> int:
        """C of a sample's frames."""
        return 2 * BINS

    def __getitem__(self, index: int) -> Sample:
        """The sample: one frame `[1, 20, H, W]`, boxes in its px.

        Raises:
            ValueError: the frames are damaged there; names the file.
        """
        record = self.records[index]
        assert record.path is not None
        assert record.t_us is not None
        with reading(record.path):
            step = self._step_of[record.path, record.t_us]
            counts = _open(record.path).part("data", step, step + 1)[0]
        ours = np.minimum(counts, CUTOFF).reshape(2, BINS, *counts.shape[1:]).swapaxes(0, 1).reshape(counts.shape)
        frames = torch.from_numpy(ours * np.uint8(BYTE // CUTOFF))[None]
        targets = targets_of(record)
        boxes = targets.boxes_xyxy * targets.boxes_xyxy.new_tensor(self._scale_wh * 2)
        targets = Targets(boxes, targets.labels, targets.ignore)
        rate = 1e6 * float(counts.sum()) / WINDOW_US
        return Sample(frames, targets, record.id, record.name, record.size_hw, self._scale_wh, event_rate=rate)


@dataclass(frozen=True)
class _Tree:
    """Attributes: a recording's frames with its boxes, and by labelled time (us) the number of the frame."""

    labelled: Labelled
    step_at: dict[int, int]


def _refuse_other_input(
    representation: Representation, steps: int, window_us: int, augment: Mapping[str, object] | None
) -> None:
    if representation != Counts(micro_bins=BINS, cutoff=CUTOFF) or steps != 1 or window_us != WINDOW_US:
        raise ValueError(
            f"dataset.representation={representation}, {steps} steps, dataset.window_us={window_us}: the frames of an "
            f"RVT tree are counts in {BINS} bins of two polarities up to {CUTOFF}, one of {WINDOW_US} us; type "
            "protocol=rvt"
        )
    events = [name for name, value in (augment or {}).items() if value is not None]
    if events:
        raise ValueError(
            f"dataset.train.augment.{events[0]}: an RVT tree has frames, not events to change; expected null there, "
            "and dataset.augment for frames"
        )


def _opened_tree(folder: Path, sensor_hw: tuple[int, int], frame_hw: tuple[int, int]) -> _Tree:
    """The labels and the frames of a recording, compared with each other.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file that is damaged, or does not fit the others; names it.
    """
    frames = next((folder / REPRESENTATION / one for one in FRAMES if (folder / REPRESENTATION / one).is_file()), None)
    for path in (folder / LABELS, folder / TIMES, folder / REPRESENTATION / STEPS, frames):
        if path is None or not path.is_file():
            raise FileNotFoundError(f"{path or folder / REPRESENTATION / FRAMES[0]}: no such file")
    assert frames is not None
    boxes, starts = _labels(folder / LABELS)
    times, steps = (_whole(path) for path in (folder / TIMES, folder / REPRESENTATION / STEPS))
    if not len(times) == len(steps) == len(starts):
        raise ValueError(
            f"{folder}/{TIMES}: {len(times)} labelled frames, {len(starts)} in {LABELS}, {len(steps)} in {STEPS}; "
            "expected equally many"
        )
    with reading(frames):
        shape = OpenFile(frames).dataset("data").shape
        if len(shape) != 4 or shape[1:] != (2 * BINS, *frame_hw):
            raise ValueError(
                f"data are {shape}; expected [S, {2 * BINS}, {frame_hw[0]}, {frame_hw[1]}]; the size of the frames is "
                "dataset.frame_hw, or where that is null dataset.sensor_hw"
            )
    if len(steps) and not 0 <= steps.min() <= steps.max() < shape[0]:
        raise ValueError(
            f"{folder}/{REPRESENTATION}/{STEPS}: frames {steps.min()} to {steps.max()}; there are {shape[0]}"
        )
    # The times of the frames, not of the boxes: RVT puts boxes a few microseconds apart into one frame.
    counts = np.diff(np.append(starts, len(boxes)))
    if len(starts) and (starts[0] != 0 or (counts < 0).any()):
        raise ValueError(f"{folder}/{LABELS}: rows of frames that do not ascend from 0")
    boxes = replace(boxes, t_us=np.repeat(times, counts)) if len(starts) else boxes
    span_us = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
    one = Labelled(frames, sensor_hw, span_us, folder / LABELS, boxes)
    return _Tree(one, dict(zip(times.tolist(), steps.tolist(), strict=True)))


def _labels(path: Path) -> tuple[EventBoxes, NDArray[np.int64]]:
    """The boxes of a recording, and the first row of each labelled frame."""
    try:
        rows, starts = read_npz(path, ("labels", "objframe_idx_2_label_idx"))
        boxes = boxes_of(rows, path)
        return boxes, whole_numbers(starts, "objframe_idx_2_label_idx", 0, len(boxes))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _whole(path: Path) -> NDArray[np.int64]:
    try:
        return whole_numbers(read_npy(path), "value", 0, MAX_TIME_US)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@lru_cache(maxsize=OPEN_FILES)
def _open(path: Path) -> OpenFile:
    return OpenFile(path)
