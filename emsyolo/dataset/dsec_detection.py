"""`dsec_detection`: driving before a stereo pair of event cameras, with tracks of the left one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emsyolo.dataset.event.boxes import read_boxes
from emsyolo.dataset.labelled import LabelledDataset, folders_of, open_pairs, sequences_in

SENSOR_HW = (480, 640)
EVENTS, TRACKS = "events/left/events.h5", "object_detections/left/tracks.npy"
LAYOUT = (
    f"expected FOLDER/train/SEQUENCE/{EVENTS} and {TRACKS}, and FOLDER/test likewise; type dataset.root=FOLDER. The "
    "events are DSEC's (dsec.ifi.uzh.ch), the tracks DSEC-Detection's (github.com/uzh-rpg/dsec-det)"
)


class DsecDetection(LabelledDataset):
    """Sequences of DSEC with their tracks; one sample per image time that has boxes.

    The boxes are those of the left event camera as recorded, without rectification, at the times of the images (20 Hz).
    Gehrig et al., DSEC, RA-L 2021; Gehrig and Scaramuzza, DAGR, Nature 2024. Differs from DAGR: the whole sensor is
    shown, not its upper 430 rows, and image times without boxes make no sample.

    Args:
        root: folder of the splits.
        split: folder of the sequences, `train` or `test`.
        class_names: the label is the index.
        sequences: names of those to take; None: all.
        without: names of those to leave out.
        check: read every recording through once, and leave out those that are damaged anywhere.
        options: of `LabelledDataset`.

    Raises:
        FileNotFoundError: no such folder or sequence; says what is expected.
        ValueError: as `LabelledDataset`, or no sequence can be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str],
        *,
        sequences: Sequence[str] | None = None,
        without: Sequence[str] | None = None,
        check: bool = False,
        **options: Any,
    ) -> None:
        name = f"{Path(root).name}/{split}"
        there = sequences_in(folders_of(Path(root), split, LAYOUT), sequences, without)
        if not there:
            raise FileNotFoundError(f"{Path(root) / split}: looked for sequences and found none; {LAYOUT}")
        pairs = [(one / EVENTS, one / TRACKS) for one in there]
        found = open_pairs(pairs, lambda path, _: read_boxes(path), name, SENSOR_HW, check=check)
        super().__init__(found, class_names, name, **options)
