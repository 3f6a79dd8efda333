"""`ncaltech101`: Caltech101's pictures before a moving event camera, one object each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.event.recording import Recording
from emsyolo.dataset.labelled import LabelledDataset, open_pairs, share_of

SENSOR_HW = (180, 240)
EVENTS, ANNOTATIONS = "Caltech101", "Caltech101_annotations"
SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1)  # of train and val
LAYOUT = (
    f"expected FOLDER/{EVENTS}/CLASS/image_0001.bin and FOLDER/{ANNOTATIONS}/CLASS/annotation_0001.bin; type "
    "dataset.root=FOLDER. N-Caltech101: Orchard et al., Frontiers in Neuroscience 2015"
)


class NCaltech101(LabelledDataset):
    """Recordings of 0.3 s, each with one box that holds at its end.

    There is no published split: 80 % of the recordings train, 10 % validate and 10 % test, chosen by the hash of class
    and number, the same on every machine and whichever files are there.

    Args:
        root: folder of events and annotations.
        split: `train`, `val` or `test`.
        class_names: folders to take, in the order of the labels; None: all, by name.
        options: of `LabelledDataset`.

    Raises:
        FileNotFoundError: no such folder, or a class without one; says what is expected.
        ValueError: an unknown split; as `LabelledDataset`, or no recording can be read.
    """

    def __init__(self, root: str | Path, split: str, class_names: Sequence[str] | None = None, **options: Any) -> None:
        root = Path(root)
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown; expected one of {', '.join(SPLITS)}")
        there = sorted(path.name for path in (root / ANNOTATIONS).glob("*") if (root / EVENTS / path.name).is_dir())
        names = there if class_names is None else list(class_names)
        missing = [name for name in names if name not in there]
        if missing or not names:
            raise FileNotFoundError(
                f"{root / ANNOTATIONS}: looked for {', '.join(missing[:10]) or 'classes'} and found "
                f"{len(there)} classes with events; {LAYOUT}"
            )
        pairs, label_of = [], {}
        for label, one in enumerate(names):
            for recording in sorted((root / EVENTS / one).glob("image_*.bin")):
                number = recording.stem.removeprefix("image_")
                if split_of(one, number) == split:
                    box_file = root / ANNOTATIONS / one / f"annotation_{number}.bin"
                    label_of[box_file] = label
                    pairs.append((recording, box_file))

        def read(path: Path, recording: Recording) -> EventBoxes:
            return read_annotation(path, label_of[path], recording.last_us + 1)

        name = f"{root.name}/{split}"
        found = open_pairs(pairs, read, name, SENSOR_HW)
        super().__init__(found, names, name, **options)


def split_of(class_name: str, number: str) -> str:
    """The split of a recording: a function of class and number only."""
    share = share_of(f"{class_name}/{number}")
    return SPLITS[0] if share < SHARES[0] else SPLITS[1] if share < sum(SHARES) else SPLITS[2]


def read_annotation(path: Path, label: int, t_us: int) -> EventBoxes:
    """The box of an annotation file: int16, of which the numbers 2 to 9 are the four corners x, y.

    Args:
        path: of the file.
        label: of the object.
        t_us: when the box holds, microseconds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too short, or corners that span no box; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: looked for the annotation of a recording and found none")
    values = np.frombuffer(path.read_bytes()[:20], dtype="<i2") if path.stat().st_size >= 20 else np.empty(0, "<i2")
    if len(values) < 10:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; expected int16 numbers, at least ten")
    corners = values[2:10].reshape(4, 2).astype(np.float64)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    if not (box[2:] > box[:2]).all():
        raise ValueError(f"{path}: corners {corners.astype(int).tolist()}; expected those of a box")
    return EventBoxes(np.array([t_us]), box[None], np.array([label]), np.zeros(1, np.int64), np.ones(1))
