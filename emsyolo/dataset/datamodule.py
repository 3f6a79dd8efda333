"""From data sets to batches: augmentation that can be repeated, and loaders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from emsyolo.dataset.augment import Fit, Letterbox, Transform
from emsyolo.dataset.collate import collate, collate_clips
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.images import ImageDataset
from emsyolo.dataset.reduced import Reduced
from emsyolo.dataset.sampling import EpochSampler, Key, mixed_seed
from emsyolo.dataset.sequence import Clips, Streams, StreamSampler
from emsyolo.types import Batch, Sample


class Augmented(Dataset[Sample]):
    """A data set behind transforms: a sample depends only on seed, epoch and index, whatever worker makes it.

    Args:
        dataset: raw samples.
        transforms: applied in order.
        seed: of the transforms' random numbers, >= 0.
        closes_at: epoch from which transforms that `closes` are left out; None: never.
        lead: frames before a window of events, at least and at most.
    """

    def __init__(
        self,
        dataset: ImageDataset | Reduced,
        transforms: Sequence[Transform],
        seed: int,
        closes_at: int | None = None,
        lead: tuple[int, int] = (0, 0),
    ) -> None:
        self.dataset = dataset
        self.transforms = tuple(transforms)
        self.seed = seed
        self.closes_at = closes_at
        self.lead = lead

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        # Not torch.manual_seed, which would seed the GPU's generators as well, and fork_rng would not put them back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, index))
            sample = self._sample(index)
            closed = self.closes_at is not None and epoch >= self.closes_at
            for transform in self.transforms:
                if not (closed and getattr(transform, "closes", False)):
                    sample = transform(sample, self._draw)
        return sample

    def _sample(self, index: int) -> Sample:
        low, high = self.lead
        if not high:
            return self.dataset[index]
        assert isinstance(self.dataset, EventDataset)  # DataModule refuses others
        return self.dataset.led_up(index, int(torch.randint(low, high + 1, ())))

    def _draw(self) -> Sample:
        return self.dataset[int(torch.randint(len(self.dataset), ()))]


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
        warm_up_steps: frames before each training window of events that the network is warmed up with, without
            gradient: at least and at most, at random between. Validation in training measures windows from nothing and
            after the most. None: from nothing only. Of no meaning with `sequence`.
        sequence: steps of a clip, for training on streams of events; None: on windows.
        stream_share: of a batch of clips, those that go on where the last batch ended; the others are random.
        max_gap: steps between labelled times, from which on a stream begins anew; None: `sequence`.
        cache: folder in which training images that are much larger than the input are kept reduced (see `Reduced`);
            None: they are decoded every time.

    Attributes:
        fit: that transform.
        pin_memory: loaders give batches in pinned memory, for a GPU; set it before they are made.

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
        warm_up_steps: Sequence[int] | None = None,
        sequence: int | None = None,
        stream_share: float = 0.5,
        max_gap: int | None = None,
        cache: str | None = None,
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
        check_filter(box_filter, self.box_filters)
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
        self.pin_memory = False
        self.lead = _checked_lead(warm_up_steps)
        self.sequence = None if sequence is None else Streams(sequence, stream_share, max_gap)
        if cache is not None and (self.lead[1] or self.sequence):
            raise ValueError(
                f"dataset.cache={cache}: expected null with warm_up_steps or sequence, which are of events"
            )
        self.cache = None if cache is None else Path(cache)
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
        """Augmented training batches, shuffled; see `order_of` for what decides on them.

        The last batch is left out if it is not full, unless it is the only one.

        Args:
            rank: number of this process.
            world_size: number of processes.
            epochs: of the training, for `close_mosaic`; None: unknown.
        """
        if self.sequence is not None:
            return self._stream_loader(self.sequence, rank, world_size)
        sampler = EpochSampler(len(self.train), True, self.seed, rank, world_size)
        closes_at = epochs - self.close_mosaic if epochs is not None and self.close_mosaic else None
        if self.lead[1]:
            self._recordings("warm_up_steps", list(self.lead))
        train = self.train if self.cache is None else Reduced(self.train, self.fit, self.cache)
        data = Augmented(train, (*self.augment, self.fit), self.seed, closes_at, self.lead)
        return self._loader(data, sampler, self.batch_size, drop_last=len(sampler) > self.batch_size)

    def first_batches(self, images: int) -> list[Batch]:
        """The first training batches, augmented as they are trained on, that together have so many images."""
        quiet = copy.copy(self)
        quiet.num_workers, quiet.pin_memory = 0, False
        found: list[Batch] = []
        for batch in quiet.train_loader():
            found.append(batch)
            if sum(map(len, found)) >= images:
                break
        return found

    def val_loader(self, rank: int = 0, world_size: int = 1, lead: int = 0) -> DataLoader:
        """Validation batches in order, brought to size and otherwise as they are, each led up to by `lead` frames."""
        sampler = EpochSampler(len(self.val), False, self.seed, rank, world_size)
        data = Augmented(self.val, (self.fit,), self.seed, lead=(lead, lead))
        return self._loader(data, sampler, self.eval_batch_size, drop_last=False)

    def calibration_loader(self) -> DataLoader:
        """Training batches, shuffled once, brought to size and otherwise as they are."""
        sampler = EpochSampler(len(self.train), True, self.seed)
        return self._loader(Augmented(self.train, (self.fit,), self.seed), sampler, self.batch_size, drop_last=False)

    @property
    def carried_steps(self) -> int:
        """Frames before a validation window after which its figures with carried state are taken; 0: none are."""
        if self.sequence is None:
            return self.lead[1]
        return max(1, self.sequence.length - self._recordings("sequence", self.sequence.length).framing.steps)

    def _recordings(self, key: str, value: object) -> EventDataset:
        """The training set, of which a setting asks for more than windows."""
        if not isinstance(self.train, EventDataset):
            raise ValueError(f"dataset.{key}={value}: expected null, since {self.name} has no recordings of events")
        return self.train

    def _stream_loader(self, sequence: Streams, rank: int, world_size: int) -> DataLoader:
        recordings = self._recordings("sequence", sequence.length)
        refused = [type(one).__name__ for one in recordings.augment if not one.of_streams]
        if refused:
            raise ValueError(
                f"dataset.train.augment has {', '.join(refused)}, which loses events between the clips of a stream; "
                "expected null in its place"
            )
        return DataLoader(
            Clips(recordings, sequence.length, self.fit),
            batch_sampler=StreamSampler(recordings, sequence, self.batch_size, self.seed, rank, world_size),
            num_workers=self.num_workers,
            collate_fn=partial(collate_clips, window=recordings.framing.steps),
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
        )

    def _loader(self, data: Augmented, sampler: EpochSampler, batch_size: int, drop_last: bool) -> DataLoader:
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=drop_last,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
        )


def order_of(loader: DataLoader) -> EpochSampler | StreamSampler:
    """What decides on the order of a training loader's batches."""
    chosen = loader.batch_sampler if isinstance(loader.batch_sampler, StreamSampler) else loader.sampler
    assert isinstance(chosen, EpochSampler | StreamSampler)
    return chosen


def _checked_lead(warm_up_steps: Sequence[int] | None) -> tuple[int, int]:
    """Least and most frames before a window."""
    if warm_up_steps is None:
        return 0, 0
    low_high = list(warm_up_steps) if isinstance(warm_up_steps, Sequence) else [warm_up_steps]
    whole = all(isinstance(steps, int) and not isinstance(steps, bool) for steps in low_high)
    if len(low_high) != 2 or not whole or not 0 <= low_high[0] <= low_high[1]:
        raise ValueError(f"dataset.warm_up_steps={warm_up_steps}: expected [least, most] frames, or null")
    return low_high[0], low_high[1]


def check_filter(box_filter: str | None, box_filters: Collection[str]) -> None:
    """Refuse the name of a filter that there is not.

    Raises:
        ValueError: names the key and those that there are.
    """
    if box_filter is not None and box_filter not in box_filters:
        raise ValueError(f"dataset.box_filter={box_filter}: expected one of {', '.join(box_filters)}")


def fit_to(size_hw: Sequence[int], fit: Callable[[tuple[int, int]], Fit] | None = None, stride: int = 32) -> Fit:
    """What brings samples to the size of a network's input; a letterbox if nothing else is given.

    Raises:
        ValueError: see `checked_size`.
    """
    return (fit or Letterbox)(checked_size(size_hw, stride))


def usual_size(sizes_hw: Sequence[tuple[int, int]], long_side: int = 320, stride: int = 32) -> tuple[int, int]:
    """Height and width of an input for images of these sizes: their median shape, the longer side `long_side` px.

    Args:
        sizes_hw: of the images, px; at least one.
        long_side: a multiple of the stride, px.
        stride: to which the shorter side is rounded, px.
    """
    height_by_width = exp(median(log(height / width) for height, width in sizes_hw))
    short = max(stride, round(long_side * min(height_by_width, 1 / height_by_width) / stride) * stride)
    return (short, long_side) if height_by_width <= 1 else (long_side, short)


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
