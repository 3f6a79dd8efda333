"""`digits`: scenes of scikit-learn's handwritten digits, made on the machine, so that nothing need be downloaded."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from emsyolo.bar import bar
from emsyolo.dataset.check import first
from emsyolo.dataset.images import ImageDataset, Record, plain_record
from emsyolo.dataset.scene import Scene, scene
from emsyolo.io import written_whole

log = logging.getLogger(__name__)

VERSION = 1  # of the scenes; a change of the generator is a new version, for figures must compare
SCENES = {"train": 2000, "test": 400}
TEST_SHARE = 0.2


@lru_cache(maxsize=2)
def scans(split: str, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 8x8 scans `[S, 8, 8]` in [0, 1] of a split and their digits `[S]`: 1,437 to train with, 360 to test with.

    The 1,797 scans are split once by the seed, each digit in equal shares; no scan is in both.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SCENES:
        raise ValueError(f"split={split!r} of the digits is unknown; expected one of {', '.join(SCENES)}")
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split(images, digits, test_size=TEST_SHARE, stratify=digits, random_state=seed)
    of_split = list(SCENES).index(split)
    return parts[of_split].reshape(-1, 8, 8) / 16.0, parts[2 + of_split].astype(np.int64)


def scene_at(index: int, split: str, *, seed: int = 0, size_hw: tuple[int, int] = (96, 128)) -> Scene:
    """One scene of a split, which depends only on these arguments."""
    rng = np.random.default_rng([VERSION, seed, list(SCENES).index(split), index])
    return scene(rng, *scans(split, seed), size_hw)


class Digits(ImageDataset):
    """1 to 6 handwritten digits before a smooth, noisy background with distractors: 2,000 scenes to train, 400 to test.

    The scenes are made once, in some ten seconds, and cached under `root` (74 MB and 15 MB); with a `limit`, and no
    cache, those needed are made each time. See `scene` for what is in one.

    Args:
        root: folder of the cache.
        split: `train` or `test`.
        seed: of the scenes and of the split of the scans; figures compare only for equal seeds.
        size_hw: height and width of a scene, px.
        limit: number of scenes, from the first on.

    Raises:
        ValueError: an unknown split, a limit below 1, or scenes smaller than the largest digit.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        seed: int = 0,
        size_hw: tuple[int, int] = (96, 128),
        limit: int | None = None,
    ) -> None:
        scans(split, seed)
        size_hw = (size_hw[0], size_hw[1])
        path = Path(root) / f"digits_v{VERSION}_{seed}_{split}_{size_hw[0]}x{size_hw[1]}.npz"
        count = len(first(range(SCENES[split]), limit))
        stored = _read(path)
        if stored is None:
            stored = _pack([scene_at(i, split, seed=seed, size_hw=size_hw) for i in _progress(count, split)])
            if count == SCENES[split]:
                _write(path, stored)
        self._pixels = stored["images"][:count]
        super().__init__(
            _records(stored, count, split, size_hw), [str(digit) for digit in range(10)], f"digits/{split}"
        )

    def _image(self, record: Record) -> Tensor:
        return torch.from_numpy(self._pixels[record.id].copy())


def _progress(count: int, split: str) -> Iterable[int]:
    description = f"making {count} scenes of digits ({split})"
    return bar(range(count), description, hidden=count < 100)


def _pack(scenes: list[Scene]) -> dict[str, NDArray]:
    """Scenes as arrays: images `[S, 3, H, W]`, and the boxes of all scenes one after the other."""
    return {
        "images": np.stack([scene.image.transpose(2, 0, 1) for scene in scenes]),
        "counts": np.array([len(scene.digits) for scene in scenes]),
        "boxes_xyxy": np.concatenate([scene.boxes_xyxy for scene in scenes]),
        "digits": np.concatenate([scene.digits for scene in scenes]),
    }


def _records(stored: dict[str, NDArray], count: int, split: str, size_hw: tuple[int, int]) -> list[Record]:
    ends = np.cumsum(stored["counts"])[:-1]
    boxes, digits = np.split(stored["boxes_xyxy"], ends), np.split(stored["digits"], ends)
    return [plain_record(i, None, size_hw, boxes[i], digits[i], name=f"{split} scene {i}") for i in range(count)]


def _read(path: Path) -> dict[str, NDArray] | None:
    """The cached scenes; None if there are none, or if the file is damaged (with a warning)."""
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in ("images", "counts", "boxes_xyxy", "digits")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s); the scenes are made again", path, error)
        return None


def _write(path: Path, arrays: dict[str, NDArray]) -> None:
    """Write the cache whole or not at all; a folder or disk that does not take it costs a warning and time."""
    try:
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        log.warning("%s; the scenes will be made again next time", error)
