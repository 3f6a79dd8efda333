"""From data sets to batches: augmentation that can be repeated, sampling that can be resumed, collation, loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from emsyolo.dataset.augment import Fit, Letterbox, Transform
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.images import ImageDataset
from emsyolo.types import Batch, Sample, Targets

Key = tuple[int, int]  # (epoch, index of the sample)


def mixed_seed(*numbers: int) -> int:
    """One seed of 64 bits from several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class Augmented(Dataset[Sample]):
    """A data set behind transforms: a sample depends only on seed, epoch and index, whatever worker makes it.

    Args:
        dataset: raw samples.
        transforms: applied in order.
        seed: of the transforms' random numbers, >= 0.
        closes_at: epoch from which transforms that `closes` are left out; None: never.
    """

    def __init__(
        self, dataset: ImageDataset, transforms: Sequence[Transform], seed: int, closes_at: int | None = None
    ) -> None:
        self.dataset = dataset
        self.transforms = tuple(transforms)
        self.seed = seed
        self.closes_at = closes_at

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        # Not torch.manual_seed, which would seed the GPU's generators as well, and fork_rng would not put them back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, index))
            sample = self.dataset[index]
            closed = self.closes_at is not None and epoch >= self.closes_at
            for transform in self.transforms:
                if not (closed and getattr(transform, "closes", False)):
                    sample = transform(sample, self._draw)
        return sample

    def _draw(self) -> Sample:
        return self.dataset[int(torch.randint(len(self.dataset), ()))]


class EpochSampler(Sampler[Key]):
    """Keys (epoch, index) in an order that seed and epoch decide; can start inside an epoch.

    For several processes, each takes every `world_size`-th key. For training (`shuffle`) the keys wrap around until
    all have equally many; for evaluation none is repeated.

    Args:
        length: of the data set.
        shuffle: a new order in every epoch; else that of the data set.
        seed: of the order, >= 0.
        rank: number of this process.
        world_size: number of processes.

    Attributes:
        skip: keys of this process to leave out at the start of the next iteration, which sets it back to 0.
    """

    def __init__(self, length: int, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}: expected 0 <= rank < world_size={world_size}")
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is of."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.world_size)
        return whole + (rest > 0 if self.shuffle else self.rank < rest)

    def __iter__(self) -> Iterator[Key]:
        order = np.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            order = np.resize(torch.randperm(self.length, generator=generator).numpy(), len(self) * self.world_size)
        skip, self.skip = self.skip, 0
        return iter([(self.epoch, int(index)) for index in order[self.rank :: self.world_size][skip:]])


def collate(samples: Iterable[Sample]) -> Batch:
    """Samples of equal size as one batch, frames `[T0, N, C, H, W]`.

    The targets are views of three tensors, because a worker hands every separate tensor over as an open file.

    Raises:
        ValueError: frames of different shapes.
    """
    listed = tuple(samples)
    shapes = {tuple(sample.frames.shape) for sample in listed}
    if len(shapes) != 1:
        raise ValueError(f"frames of shapes {sorted(shapes)} in one batch; expected equal shapes: end with a Letterbox")
    frames = torch.stack([sample.frames for sample in listed], dim=1)
    nothing = frames.new_empty((*listed[0].frames.shape[:2], 0, 0))
    counts = [len(sample.targets) for sample in listed]
    boxes = torch.cat([sample.targets.boxes_xyxy for sample in listed]).split(counts)
    labels = torch.cat([sample.targets.labels for sample in listed]).split(counts)
    ignore = torch.cat([sample.targets.ignore for sample in listed]).split(counts)
    return Batch(
        frames,
        tuple(
            replace(sample, frames=nothing, targets=Targets(boxes[i], labels[i], ignore[i]))
            for i, sample in enumerate(listed)
        ),
    )


class DataModule:
    """A training and a validation set, opened when they are first asked for, and their loaders.

    Args:
        name: what messages call it.
        size_hw: height and width of the network's input, px; multiples of `stride`.
        train: opens the training set.
        val: opens the validation set.
        augment: name to transform, applied to training samples in this order; None leaves one out.
        batch_size: of training, per process.
        eval_batch_size: of validation, per process.
        num_workers: processes that load; 0 loads in this one.
        anchors: per level `[[w, h], ...]` px, small stride first, or `auto`: of models without their own.
        class_names: if given, what the data set's must be.
        seed: of order and augmentation.
        stride: the network's largest, px.
        fit: makes the transform that brings every sample to `size_hw`, after any augmentation.
        box_filters: by name, which boxes evaluation may count.
        box_filter: name of the one that it does count; the figures of the others stand beside.
        close_mosaic: number of epochs at the end of a training without mosaic.

    Attributes:
        fit: that transform.

    Raises:
        ValueError: a name that cannot be that of a folder, a size that is not a multiple of the stride, a batch size
            below 1, an unknown filter; later, when a set is opened: other class names in one set than in the other.
    """

    def __init__(
        self,
        name: str,
        size_hw: Sequence[int],
        train: Callable[[], ImageDataset],
        val: Callable[[], ImageDataset],
        augment: Mapping[str, Transform | None],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        anchors: Any = "auto",
        class_names: Sequence[str] | None = None,
        seed: int = 0,
        stride: int = 32,
        fit: Callable[[tuple[int, int]], Fit] | None = None,
        box_filters: Mapping[str, BoxFilter] | None = None,
        box_filter: str | None = None,
        close_mosaic: int = 0,
    ) -> None:
        if not name.isprintable() or not name.strip(". ") or set(name) & set("/\\\\:"):
            raise ValueError(
                f"dataset.name={name!r}: expected a name that a folder can have, since runs lie in one of that name"
            )
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("close_mosaic", close_mosaic, 0),
        ):
            if value < least:
                raise ValueError(f"dataset.{key}={value}: expected at least {least}")
        self.box_filters = dict(box_filters or {})
        if box_filter is not None and box_filter not in self.box_filters:
            raise ValueError(f"dataset.box_filter={box_filter}: expected one of {', '.join(self.box_filters)}")
        self.box_filter = None if box_filter is None else self.box_filters[box_filter]
        self.name = name
        self.size_hw = checked_size(size_hw, stride)
        self.fit = fit_to(size_hw, fit, stride)
        self.augment = tuple(transform for transform in augment.values() if transform is not None)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.anchors = anchors
        self.seed = seed
        self.close_mosaic = close_mosaic
        self._open_train = train
        self._open_val = val
        self._class_names = None if class_names is None else tuple(class_names)

    @cached_property
    def val(self) -> ImageDataset:
        """The validation set."""
        val = self._open_val()
        if self._class_names is not None and val.class_names != self._class_names:
            raise ValueError(
                f"dataset.class_names={list(self._class_names)}, but {val.name} has {list(val.class_names)}; type "
                "those or dataset.class_names=null"
            )
        return val

    @cached_property
    def train(self) -> ImageDataset:
        """The training set."""
        train = self._open_train()
        if train.class_names != self.val.class_names:
            raise ValueError(
                f"dataset {self.name}: the training set {train.name} has the classes {list(train.class_names)}, the "
                f"validation set {self.val.name} {list(self.val.class_names)}; expected the same in the same order"
            )
        return train

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of both sets; the label is the index."""
        return self.val.class_names

    def train_loader(self, rank: int = 0, world_size: int = 1, epochs: int | None = None) -> DataLoader:
        """Augmented training batches, shuffled; its `sampler` is an `EpochSampler`.

        The last batch is left out if it is not full, unless it is the only one.

        Args:
            rank: number of this process.
            world_size: number of processes.
            epochs: of the training, for `close_mosaic`; None: unknown.
        """
        sampler = EpochSampler(len(self.train), True, self.seed, rank, world_size)
        closes_at = epochs - self.close_mosaic if epochs is not None and self.close_mosaic else None
        data = Augmented(self.train, (*self.augment, self.fit), self.seed, closes_at)
        return self._loader(data, sampler, self.batch_size, drop_last=len(sampler) > self.batch_size)

    def val_loader(self, rank: int = 0, world_size: int = 1) -> DataLoader:
        """Validation batches in order, brought to size and otherwise as they are."""
        sampler = EpochSampler(len(self.val), False, self.seed, rank, world_size)
        data = Augmented(self.val, (self.fit,), self.seed)
        return self._loader(data, sampler, self.eval_batch_size, drop_last=False)

    def calibration_loader(self) -> DataLoader:
        """Training batches, shuffled once, brought to size and otherwise as they are."""
        sampler = EpochSampler(len(self.train), True, self.seed)
        return self._loader(Augmented(self.train, (self.fit,), self.seed), sampler, self.batch_size, drop_last=False)

    def _loader(self, data: Augmented, sampler: EpochSampler, batch_size: int, drop_last: bool) -> DataLoader:
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
        )


def fit_to(size_hw: Sequence[int], fit: Callable[[tuple[int, int]], Fit] | None = None, stride: int = 32) -> Fit:
    """What brings samples to the size of a network's input; a letterbox if nothing else is given.

    Raises:
        ValueError: see `checked_size`.
    """
    return (fit or Letterbox)(checked_size(size_hw, stride))


def checked_size(size_hw: Sequence[int], stride: int) -> tuple[int, int]:
    """A network's input size as (height, width).

    Raises:
        ValueError: not two positive multiples of the stride; names the nearest.
    """
    if len(size_hw) != 2 or any(side < 1 or side % stride for side in size_hw):
        near = [max(stride, round(side / stride) * stride) for side in size_hw]
        raise ValueError(
            f"dataset.size_hw={list(size_hw)}: expected [height, width], both multiples of the network's stride "
            f"{stride} px; the nearest are {near}"
        )
    return size_hw[0], size_hw[1]
