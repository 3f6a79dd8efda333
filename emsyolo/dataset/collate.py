"""From samples and clips to batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from emsyolo.types import Batch, Clip, Read, Sample, Targets


def collate(samples: Iterable[Sample]) -> Batch:
    """Samples of equal size as one batch, frames `[T0, N, C, H, W]`, and those that lead up to them.

    The targets are views of three tensors, because a worker hands every separate tensor over as an open file.

    Raises:
        ValueError: frames of different shapes.
    """
    listed = tuple(samples)
    frames = _stacked([sample.frames[sample.lead :] for sample in listed])
    longest = max(sample.lead for sample in listed)
    before = frames.new_zeros((longest, *frames.shape[1:])) if longest else None
    for i, sample in enumerate(listed):
        if before is not None and sample.lead:
            before[-sample.lead :, i] = sample.frames[: sample.lead]
    return Batch(frames, _without_frames(listed), before)


def collate_clips(clips: Iterable[Clip], window: int) -> Batch:
    """Clips of equal length and size as one batch, frames `[L, N, C, H, W]`.

    Args:
        clips: N of them.
        window: frames over which an answer is read out, as in a window; fewer where a clip has begun less before.

    Raises:
        ValueError: frames of different shapes.
    """
    listed = tuple(clips)
    reads = tuple(
        Read(place, range(max(0, end - window), end)) for place, clip in enumerate(listed) for end in clip.ends
    )
    samples = _without_frames([sample for clip in listed for sample in clip.samples])
    goes_on = torch.tensor([clip.goes_on for clip in listed])
    return Batch(_stacked([clip.frames for clip in listed]), samples, reads=reads, goes_on=goes_on, window=window)


def _stacked(frames: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(one.shape) for one in frames}
    if len(shapes) != 1:
        raise ValueError(f"frames of shapes {sorted(shapes)} in one batch; expected equal shapes: end with a Letterbox")
    return torch.stack(list(frames), dim=1)


def _without_frames(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples without pixels; their targets are views of three tensors."""
    nothing = samples[0].frames.new_empty((*samples[0].frames.shape[:2], 0, 0))
    counts = [len(sample.targets) for sample in samples]
    boxes = torch.cat([sample.targets.boxes_xyxy for sample in samples]).split(counts)
    labels = torch.cat([sample.targets.labels for sample in samples]).split(counts)
    ignore = torch.cat([sample.targets.ignore for sample in samples]).split(counts)
    return tuple(
        replace(sample, frames=nothing, targets=Targets(boxes[i], labels[i], ignore[i]))
        for i, sample in enumerate(samples)
    )
