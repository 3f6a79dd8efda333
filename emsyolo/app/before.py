"""What a person wants to see before a training: what the data set's boxes are like, and what the network is shown."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emsyolo.dataset.datamodule import DataModule
from emsyolo.dataset.images import ImageDataset
from emsyolo.report.events import picture
from emsyolo.report.labels import label_picture
from emsyolo.report.sheet import truth_sheet
from emsyolo.types import Batch

LABELS, BATCH = "labels.png", "train_batch.png"
SHOWN = 16  # images of the batch, at most


def draw_data(out: Path, data: DataModule, *, epochs: int | None = None, world_size: int = 1) -> None:
    """Write `labels.png` and `train_batch.png`: the first batch of the training, augmented as it will be.

    No random number of the training is used up.

    Args:
        out: folder of the run.
        data: of the training.
        epochs: see `DataModule.train_loader`.
        world_size: processes.

    Raises:
        ValueError: an image that cannot be decoded; names it.
    """
    with _same_random_numbers():
        _draw_labels(out / LABELS, data.train, data)
        batch = first_batch(data, epochs=epochs, world_size=world_size)
        count = min(len(batch), SHOWN)
        truth_sheet(
            out / BATCH,
            [_shown(batch, i) for i in range(count)],
            batch.targets[:count],
            data.class_names,
            names=[sample.name for sample in batch.samples[:count]],
        )


def first_batch(data: DataModule, *, epochs: int | None = None, world_size: int = 1) -> Batch:
    """The first batch that the first process of a training is given, made in this process."""
    loader = data.train_loader(0, world_size, epochs)
    assert loader.batch_sampler is not None
    assert loader.collate_fn is not None
    batch: Batch = loader.collate_fn([loader.dataset[key] for key in next(iter(loader.batch_sampler))])
    return batch


def _shown(batch: Batch, i: int) -> Tensor:
    """The picture of the time at which the boxes of a sample are true."""
    if batch.reads is None:
        return picture(batch.frames[-1, i])
    read = batch.reads[i]
    return picture(batch.frames[read.frames.stop - 1, read.place])


def _draw_labels(path: Path, train: ImageDataset, data: DataModule) -> None:
    records = train.records
    shares = [record.boxes_xyxy / np.tile(record.size_hw[::-1], 2) for record in records]
    sides = [
        np.sqrt(((one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]) * data.fit.scale_wh(one.size_hw)).prod(axis=1))
        for one in records
    ]
    label_picture(
        path,
        data.class_names,
        np.concatenate([record.labels for record in records]),
        np.concatenate(shares),
        np.concatenate(sides),
        np.array([len(record.labels) for record in records]),
    )


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Within, random numbers may be drawn; afterwards all generators of this process go on as if none had been."""
    ours, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - others may use it
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numbers)  # noqa: NPY002
