"""`prophesee`: recordings with box files beside them, as Gen1, 1 Mpx, eTraM, and our own are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emsyolo.dataset.event.boxes import read_boxes
from emsyolo.dataset.labelled import LabelledDataset, folders_of, open_pairs

RECORDING, BOXES = "_td.dat", "_bbox.npy"
RECORDINGS = (RECORDING, "_td.h5", "_td.dat.h5", "_td.hdf5", "_td.raw")  # of several of one name, the first is read
LAYOUT = (
    f"expected FOLDER/train, FOLDER/val and FOLDER/test with NAME{RECORDING} (or {', '.join(RECORDINGS[1:])}) and "
    f"NAME{BOXES} in each; type dataset.root=FOLDER. Gen1 comes from Prophesee (GEN1 Automotive Detection Dataset, 7z "
    "archives)"
)


class Prophesee(LabelledDataset):
    """Recordings `NAME_td.dat` (or HDF5, or RAW) with boxes `NAME_bbox.npy`; one sample per time that has boxes.

    Recordings that cannot be read, or whose box file is not there or cannot be read, and box files without a recording,
    are left out and named. Suffixes may be in capitals.

    Args:
        root: folder of the splits.
        split: folder of the recordings, a name or a pattern: `train`, `train_h5_*`.
        class_names: the label is the index.
        boxes: folder of the box files, in the root, if they do not lie with the recordings.
        sensor_hw: height and width of the sensor where a recording does not say, px.
        check: read every recording through once, and leave out those that are damaged anywhere.
        options: of `LabelledDataset`.

    Raises:
        FileNotFoundError: no such folder; says what is expected.
        ValueError: as `LabelledDataset`, or no recording with boxes can be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        class_names: Sequence[str] | None,
        *,
        boxes: str | None = None,
        sensor_hw: Sequence[int] = (240, 304),
        check: bool = False,
        **options: Any,
    ) -> None:
        folders = folders_of(Path(root), split, LAYOUT)
        where = ", ".join(map(str, folders))
        if class_names is None:
            raise ValueError(
                f"dataset.class_names is not given, and {where} has only class numbers; type the names in their "
                "order, for example dataset.class_names=[car,pedestrian]"
            )
        name = f"{Path(root).name}/{split}"
        recordings = _by_name(folders, RECORDINGS)
        files = _by_name(folders if boxes is None else folders_of(Path(root), boxes, LAYOUT, "box files"), (BOXES,))
        if not recordings:
            raise FileNotFoundError(f"{where}: looked for *{RECORDING} and found none; {LAYOUT}")
        reasons = {files[key].name: "no recording" for key in sorted(files.keys() - recordings.keys())}
        reasons |= {recordings[key].name: "no box file" for key in sorted(recordings.keys() - files.keys())}
        pairs = [(recordings[key], files[key]) for key in sorted(recordings.keys() & files.keys())]
        found = open_pairs(pairs, lambda path, _: read_boxes(path), name, sensor_hw, check=check, reasons=reasons)
        super().__init__(found, class_names, name, **options)


def _by_name(folders: Iterable[Path], ends: Sequence[str]) -> dict[str, Path]:
    """The files below the folders that end in one of these ways, in capitals or not, by what comes before it."""
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        end = next((i for i, end in enumerate(ends) if path.name.lower().endswith(end)), None)
        if end is None:
            continue
        key = path.name[: -len(ends[end])]
        if key not in found or end < found[key][0]:
            found[key] = (end, path)
    return {key: path for key, (_, path) in found.items()}
