"""Recordings that are made on the machine: `digits_dvs`, `digits_dvs_stops` and `nmnist_scenes`, written and read as
Prophesee's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from emsyolo.bar import bar
from emsyolo.dataset.event import moving_digits, nmnist
from emsyolo.dataset.event.boxes import write_boxes
from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.moving_digits import Take
from emsyolo.dataset.event.stops import STOPS, write_stops
from emsyolo.dataset.prophesee import BOXES, RECORDING, Prophesee

DIGITS_DVS = {"train": 250, "test": 60}
DIGITS_DVS_STOPS = {"train": 150, "test": 40}
NMNIST_SCENES = {"train": 300, "test": 60}


def digits_dvs(
    root: str | Path, split: str = "train", seed: int = 0, limit: int | None = None, **options: Any
) -> Prophesee:
    """Moving handwritten digits before a simulated event camera: 250 recordings of 2 s to train with, 60 to test.

    Made once and written under `root`; see `emsyolo.dataset.event.moving_digits` and `.camera` for what is in one.

    Args:
        root: folder of the recordings.
        split: `train` or `test`.
        seed: of the recordings; figures compare only for equal seeds.
        limit: number of windows, from the first on; recordings beyond them are not made.
        options: of `Prophesee`.

    Raises:
        ValueError: an unknown split.
    """
    folder = Path(root) / f"v{moving_digits.VERSION}_{seed}"
    count = _count(DIGITS_DVS, split, limit, len(moving_digits.LABELS_US))
    take = partial(moving_digits.moving_digits, split=split, seed=seed)
    _write(folder / split, count, take, moving_digits.SENSOR_HW)
    return Prophesee(folder, split, limit=limit, **options)


def digits_dvs_stops(
    root: str | Path, split: str = "train", seed: int = 0, limit: int | None = None, **options: Any
) -> Prophesee:
    """Handwritten digits that stop on their way, and then make no events: 150 recordings of 4 s to train, 40 to test.

    Made once and written under `root`, with the times of the stops (`NAME_stops.npy`; `emsyolo.dataset.event.stops`);
    see `emsyolo.dataset.event.moving_digits.stopping_digits` for what is in one.

    Args:
        root, split, seed, limit, options: as for `digits_dvs`.

    Raises:
        ValueError: an unknown split.
    """
    folder = Path(root) / f"v{moving_digits.STOPS_VERSION}_{seed}"
    count = _count(DIGITS_DVS_STOPS, split, limit, len(moving_digits.STOPS_LABELS_US))
    take = partial(moving_digits.stopping_digits, split=split, seed=seed)
    _write(folder / split, count, take, moving_digits.SENSOR_HW)
    return Prophesee(folder, split, limit=limit, **options)


def nmnist_scenes(
    root: str | Path, cache: str | Path, split: str = "train", seed: int = 0, limit: int | None = None, **options: Any
) -> Prophesee:
    """N-MNIST recordings (a real camera) placed on a 240x304 canvas: 300 scenes to train with, 60 to test.

    Made once and written under `cache`; see `emsyolo.dataset.event.nmnist` for what is in one.

    Args:
        root: folder of N-MNIST: NUMBER.bs2, train1K.txt, test100.txt.
        cache: folder of the scenes.
        split: `train` or `test`.
        seed: of the scenes; figures compare only for equal seeds.
        limit: number of windows, from the first on; scenes beyond them are not made.
        options: of `Prophesee`.

    Raises:
        FileNotFoundError: N-MNIST is not there; says what is expected.
        ValueError: an unknown split, or a damaged file.
    """
    folder = Path(cache) / f"v{nmnist.VERSION}_{seed}"
    count = _count(NMNIST_SCENES, split, limit, len(nmnist.LABELS_US))
    if not _complete(folder / split, count):
        glyphs = nmnist.load_glyphs(Path(root), split)
        scene = partial(nmnist.nmnist_scene, split=split, glyphs=glyphs, seed=seed)
        _write(folder / split, count, scene, nmnist.SENSOR_HW)
    return Prophesee(folder, split, limit=limit, **options)


def _count(counts: dict[str, int], split: str, limit: int | None, labels: int) -> int:
    """Number of recordings that hold the windows asked for."""
    if split not in counts:
        raise ValueError(f"split={split!r} is unknown; expected one of {', '.join(counts)}")
    return counts[split] if limit is None else min(counts[split], -(-limit // labels))


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / f"{index:04d}{RECORDING}", folder / f"{index:04d}{BOXES}"


def _complete(folder: Path, count: int) -> bool:
    return all(path.exists() for index in range(count) for path in _paths(folder, index))


def _write(folder: Path, count: int, take: Callable[[int], Take], sensor_hw: tuple[int, int]) -> None:
    """Make the recordings that are not there yet; each file is written whole, the boxes last."""
    missing = [index for index in range(count) if not all(path.exists() for path in _paths(folder, index))]
    for index in bar(missing, f"making {len(missing)} recordings ({folder.name})"):
        made = take(index)
        recording, boxes = _paths(folder, index)
        write_dat(recording, made.events, sensor_hw)
        if made.stops is not None:
            write_stops(folder / f"{index:04d}{STOPS}", made.stops)
        write_boxes(boxes, made.boxes)
