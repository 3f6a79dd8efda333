"""`fred`: drones before an event camera (the Florence RGB-Event Drone data set)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emsyolo.dataset.event.boxes import EventBoxes
from emsyolo.dataset.labelled import LabelledDataset, open_pairs, sequences_in, share_of
from emsyolo.dataset.values import shown
from emsyolo.text import read_text

SENSOR_HW = (720, 1280)
SPLITS, TRAIN_SHARE = ("train", "test"), 0.8
RECORDINGS = ("events.dat", "events.h5", "events.hdf5", "events.raw")  # the first that is there is read
LABELS = ("interpolated_coordinates.txt", "coordinates.txt")
LAYOUT = (
    "expected FOLDER/SEQUENCE/Event/events.raw and FOLDER/SEQUENCE/interpolated_coordinates.txt (or coordinates.txt); "
    "type dataset.root=FOLDER. FRED: github.com/miccunifi/FRED"
)
FORM = "expected `seconds: x1, y1, x2, y2`, px, and perhaps the number of the drone"


class Fred(LabelledDataset):
    """Sequences with boxes of drones in text files; one sample per time that has boxes.

    Magrini et al., FRED, 2025. Its RAW files are read whole and stay in memory while they are used: `events.dat` or
    `events.h5` beside one is read in its place, by windows.

    Args:
        root: folder of the sequences.
        split: `train` or `test`.
        class_names: one.
        sequences: names of those to take; None: by a hash of the name, four of five for `train`, the others for `test`.
        check: read every recording through once, and leave out those that are damaged anywhere.
        options: of `LabelledDataset`.

    Raises:
        FileNotFoundError: no such folder or sequence; says what is expected.
        ValueError: an unknown split; as `LabelledDataset`, or no sequence can be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str],
        *,
        sequences: Sequence[str] | None = None,
        check: bool = False,
        **options: Any,
    ) -> None:
        root = Path(root)
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown; expected one of {', '.join(SPLITS)}")
        there = sequences_in([root], sequences) if root.is_dir() else []
        there = [one for one in there if (one / "Event").is_dir()]
        if sequences is None:
            there = [one for one in there if (share_of(one.name) < TRAIN_SHARE) == (split == "train")]
        if not there:
            raise FileNotFoundError(
                f"{root}: looked for sequences with a folder Event and found none for split={split}; {LAYOUT}"
            )
        pairs = [(_first(one / "Event", RECORDINGS), _first(one, LABELS)) for one in there]
        name = f"{root.name}/{split}"
        found = open_pairs(pairs, lambda path, _: read_coordinates(path), name, SENSOR_HW, check=check)
        super().__init__(found, class_names, name, **options)


def _first(folder: Path, names: Sequence[str]) -> Path:
    """The first file of these names that is there; the last of them if none is."""
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[-1])


def read_coordinates(path: Path) -> EventBoxes:
    """The boxes of a text file with a line for each: `seconds: x1, y1, x2, y2`, and in some a fifth number, the track.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form; names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: looked for the boxes of a recording and found none")
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        seconds, _, rest = line.partition(":")
        try:
            values = [float(value) for value in (seconds, *rest.split(","))]
            if len(values) not in (5, 6) or not np.isfinite(values).all() or not 0 <= values[0] < 1e9:
                raise ValueError(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {shown(line)}; {FORM}") from error
        rows.append((*values[:5], values[5] if len(values) == 6 else number))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    count = len(table)
    return EventBoxes(
        np.rint(table[:, 0] * 1e6).astype(np.int64),
        table[:, 1:5],
        np.zeros(count, np.int64),
        table[:, 5].astype(np.int64),
        np.ones(count),
    )
