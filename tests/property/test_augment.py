"""Laws of the augmentation: boxes stay inside, the input stays as it was, and letterboxing can be undone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emsyolo.dataset.augment import HSV, Affine, Cutout, Flip, Letterbox, Transform, Turn
from emsyolo.dataset.mosaic import Mosaic
from emsyolo.types import Detections, Sample, Targets

FRAME = (64, 96)
RANDOM = [Flip(1.0), Turn(), Affine(0.9, 0.5), HSV(0.5, 1.0, 1.0), Cutout(1.0, 5, 0.6), Mosaic(FRAME, 1.0, 0.9)]


@st.composite
def samples(draw: st.DrawFn, max_side: int = 90, channels: int = 3) -> Sample:
    """Samples that are never square, with up to five boxes of at least one pixel."""
    height, width = draw(st.integers(8, max_side)), draw(st.integers(8, max_side))
    assume(height != width)
    shares = draw(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), max_size=5))
    boxes = torch.tensor([_box(share, height, width) for share in shares]).reshape(-1, 4)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    steps = draw(st.integers(1, 3))
    frames = torch.randint(256, (steps, channels, height, width), dtype=torch.uint8, generator=generator)
    ignore = torch.rand(len(boxes), generator=generator) < 0.3
    return Sample(frames, Targets(boxes, torch.arange(len(boxes)), ignore), 1, "one", (height, width))


def _box(shares: list[float], height: int, width: int) -> list[float]:
    x0, y0 = shares[0] * (width - 1), shares[1] * (height - 1)
    return [x0, y0, x0 + 1 + shares[2] * (width - 1 - x0), y0 + 1 + shares[3] * (height - 1 - y0)]


def copy(sample: Sample) -> tuple[torch.Tensor, ...]:
    targets = sample.targets
    return tuple(x.clone() for x in (sample.frames, targets.boxes_xyxy, targets.labels, targets.ignore))


@pytest.mark.parametrize("transform", [*RANDOM, Letterbox(FRAME)], ids=lambda one: type(one).__name__)
@settings(max_examples=40, deadline=None)
@given(sample=samples(), seed=st.integers(0, 10_000))
def test_boxes_stay_inside_and_the_input_stays_as_it_was(transform: Transform, sample: Sample, seed: int) -> None:
    torch.manual_seed(seed)
    before = copy(sample)
    changed = transform(sample, lambda: sample)
    assert all(torch.equal(a, b) for a, b in zip(before, copy(sample), strict=True))
    height, width = changed.frames.shape[-2:]
    x0, y0, x1, y1 = changed.targets.boxes_xyxy.unbind(dim=1)
    slack = 1e-4
    assert (x0 >= -slack).all()
    assert (y0 >= -slack).all()
    assert (x1 <= width + slack).all()
    assert (y1 <= height + slack).all()
    assert (x0 < x1).all()
    assert (y0 < y1).all()
    assert changed.frames.dtype == torch.uint8
    assert changed.frames.shape[:2] == sample.frames.shape[:2]
    assert len(changed.targets.boxes_xyxy) == len(changed.targets.labels) == len(changed.targets.ignore)
    # Every box that is left still has its own label and mark (the label is the number of the box).
    assert torch.equal(changed.targets.ignore, sample.targets.ignore[changed.targets.labels])


@settings(max_examples=100, deadline=None)
@given(sample=samples(max_side=700, channels=1), height=st.integers(1, 10), width=st.integers(1, 10))
def test_letterboxed_boxes_come_back_to_the_original(sample: Sample, height: int, width: int) -> None:
    assume(height != width)
    boxed = Letterbox((32 * height, 32 * width))(sample, lambda: sample)
    count = len(boxed.targets)
    found = Detections(boxed.targets.boxes_xyxy, torch.ones(count), boxed.targets.labels)
    torch.testing.assert_close(found.to_original(boxed).boxes_xyxy, sample.targets.boxes_xyxy, atol=1e-3, rtol=0)


@settings(max_examples=40, deadline=None)
@given(sample=samples())
def test_flipping_twice_changes_nothing(sample: Sample) -> None:
    twice = Flip(1.0)(Flip(1.0)(sample, lambda: sample), lambda: sample)
    assert torch.equal(twice.frames, sample.frames)
    torch.testing.assert_close(twice.targets.boxes_xyxy, sample.targets.boxes_xyxy, atol=1e-4, rtol=0)
