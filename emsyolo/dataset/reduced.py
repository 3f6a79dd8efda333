"""Photographs that are much larger than the network's input, decoded once and kept reduced."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.images import ImageDataset, Record, targets_of
from emsyolo.io import written_whole
from emsyolo.types import Sample

log = logging.getLogger(__name__)

SPARE = 2  # px that are kept for each of the input, at least: mosaic and affine zoom in


def factor(record: Record, fit: Fit) -> int:
    """By how much an image can be reduced, each way, and still have twice the pixels that the fit makes of it."""
    still = record.path is not None and record.t_us is None
    return max(1, int(1 / (SPARE * max(fit.scale_wh(record.size_hw))))) if still else 1


def reduced_hw(record: Record, by: int) -> tuple[int, int]:
    """Height and width of an image that is reduced, px."""
    return record.size_hw[0] // by, record.size_hw[1] // by


def reducible(dataset: ImageDataset, fit: Fit) -> tuple[int, int]:
    """How many images `Reduced` keeps, and the bytes that they take."""
    sizes = [reduced_hw(record, by) for record in dataset.records if (by := factor(record, fit)) > 1]
    return len(sizes), sum(dataset.channels * height * width for height, width in sizes)


class Reduced(Dataset[Sample]):
    """A data set of images, those that are at least four times as large as the input, each way, reduced.

    They are reduced by a whole number, to no less than twice the input: what augmentation makes of them then differs
    little from what it makes of the originals (two filters one after the other instead of one). Whoever first asks for
    an image writes it; later, in any process and any training, it is read. An image that changes is reduced anew.

    Args:
        dataset: the images.
        fit: what brings them to the size of the input.
        folder: in which they are kept, uncompressed; made if need be. Where it cannot be written, the images are
            decoded every time, and a warning says so.
    """

    def __init__(self, dataset: ImageDataset, fit: Fit, folder: Path) -> None:
        self.dataset = dataset
        self._fit = fit
        self._folder = folder
        self._warned = False

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample in its original size, or reduced.

        Raises:
            ValueError: the file cannot be decoded.
        """
        record = self.dataset.records[index]
        by = factor(record, self._fit)
        if by == 1:
            return self.dataset[index]
        frames, targets = self._frames(index, by), targets_of(record)
        height, width = record.size_hw
        scale_wh = frames.shape[-1] / width, frames.shape[-2] / height
        boxes = targets.boxes_xyxy * torch.tensor(scale_wh * 2)
        targets = replace(targets, boxes_xyxy=boxes)
        return Sample(frames, targets, record.id, record.name, record.size_hw, scale_wh)

    def _frames(self, index: int, by: int) -> Tensor:
        """`[1, 3, H // by, W // by]` uint8, read or made."""
        record = self.dataset.records[index]
        size_hw = reduced_hw(record, by)
        path = self._folder / f"{_digest(record)}-{by}.npy"
        try:
            kept = np.load(path, allow_pickle=False)
            if kept.dtype == np.uint8 and kept.shape == (1, self.dataset.channels, *size_hw):
                return torch.from_numpy(kept)
        except (OSError, ValueError, EOFError):
            pass  # not there yet, or damaged: made anew
        frames = F.resize(self.dataset[index].frames, list(size_hw), antialias=True)
        try:
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.save(file, frames.numpy(), allow_pickle=False)
        except OSError as error:
            if not self._warned:
                log.warning("dataset.cache=%s: %s; images are decoded every time they are needed", self._folder, error)
            self._warned = True
        return frames


def _digest(record: Record) -> str:
    """A name for the file as it is now: by its path, size and time of change."""
    assert record.path is not None
    try:
        status = record.path.stat()
    except OSError as error:
        raise ValueError(f"{record.path}: no such image file") from error
    known = f"{record.path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:32]
