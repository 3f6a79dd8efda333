"""Frames of events: hand-worked cases, and tonic where both are defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tonic.transforms as tonic_transforms
from event_data import SENSOR_HW, make_events

from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.representation import (
    Binary,
    Counts,
    LastPolarity,
    Signed,
    VoxelGrid,
    counts,
    last_polarity,
    scaled,
    signed,
    voxel_grid,
)

HW = (2, 3)


def some(*rows: tuple[int, int, int, int]) -> Events:
    """Events from rows t, x, y, p."""
    t, x, y, p = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))


# Two on and an off event at (row 1, column 2) in the first step, an on event at (0, 0) at the start of the second.
EVENTS = some((10, 2, 1, 1), (11, 2, 1, 1), (14, 2, 1, 0), (15, 0, 0, 1))


def test_counts_by_hand() -> None:
    frames = counts(EVENTS, 10, 20, 2, HW)
    assert frames.shape == (2, 2, 2, 3)
    assert frames[0, 1].tolist() == [[0, 0, 0], [0, 0, 2]]
    assert frames[0, 0].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert frames[1, 1].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert frames[1, 0].sum() == 0


def test_micro_bins_are_channels() -> None:
    frames = counts(EVENTS, 10, 20, 1, HW, micro_bins=2)
    assert frames.shape == (1, 4, 2, 3)
    assert [int(frames[0, c].sum()) for c in range(4)] == [1, 2, 0, 1]


def test_window_is_half_open_and_the_frame_bounds_the_events() -> None:
    assert counts(EVENTS, 11, 15, 1, HW).sum() == 2
    assert counts(EVENTS, 10, 20, 1, (1, 3)).sum() == 1


def test_signed_and_last_polarity_by_hand() -> None:
    assert signed(EVENTS, 10, 20, 2, HW)[0, 0].tolist() == [[0, 0, 0], [0, 0, 1]]
    frames = last_polarity(EVENTS, 10, 20, 2, HW)
    assert frames[0].tolist() == [[127, 127, 127], [127, 127, 0]]
    assert frames[1].tolist() == [[255, 127, 127], [127, 127, 127]]


def test_voxel_grid_by_hand() -> None:
    # Three steps centred at 0, 5 and 10 of the window: an event at 2 is 0.6 of the first, 0.4 of the second.
    frames = voxel_grid(some((2, 0, 0, 1), (5, 1, 0, 0)), 0, 10, 3, HW)
    np.testing.assert_allclose(frames[:, 0, 0, 0], [0.6, 0.4, 0], atol=1e-6)
    np.testing.assert_allclose(frames[:, 0, 0, 1], [0, -1, 0], atol=1e-6)


def test_bytes_by_hand() -> None:
    whole = {"start_us": 10, "end_us": 20, "steps": 1, "size_hw": HW}
    assert Counts(cutoff=10)(EVENTS, **whole)[0, :, 1, 2].tolist() == [25, 50]
    assert Counts(cutoff=1)(EVENTS, **whole)[0, :, 1, 2].tolist() == [255, 255]
    assert Binary()(EVENTS, **whole)[0, :, 1, 2].tolist() == [255, 255]
    assert Signed(cutoff=10)(EVENTS, **whole)[0, 0, 1, 2].item() == 127 + 12
    assert VoxelGrid(cutoff=5)(EVENTS, **whole)[0, 0, 1, 2].item() == 152  # 127 + 25.4
    assert LastPolarity()(EVENTS, **whole)[0, :, 1, 2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "one", [Counts(), Counts(micro_bins=3), Binary(2), Signed(), VoxelGrid(), LastPolarity()], ids=repr
)
def test_empty_window_has_the_same_shape(one: Any) -> None:
    empty, full = one(some(), 10, 20, 2, HW), one(EVENTS, 10, 20, 2, HW)
    assert empty.shape == full.shape == (2, one.channels, *HW)
    assert (empty == one.empty).all()
    assert not (full == one.empty).all()


def structured(events: Events) -> np.ndarray:
    rows = np.zeros(len(events), dtype=[("x", "i4"), ("y", "i4"), ("t", "i8"), ("p", "i4")])
    for axis in "xytp":
        rows[axis] = getattr(events, axis)
    return rows


def test_counts_equal_tonics_frames() -> None:
    # tonic's windows begin at the first event and hold whole windows alone: the last event closes the fifth.
    events = make_events(5000)
    t = events.t.copy()
    t[0], t[-1] = 0, 100_000
    rows = structured(Events(t, events.x, events.y, events.p))
    theirs = tonic_transforms.ToFrame(sensor_size=(SENSOR_HW[1], SENSOR_HW[0], 2), time_window=20_000)(rows)
    ours = counts(Events(t, events.x, events.y, events.p), 0, 100_000, 5, SENSOR_HW)
    np.testing.assert_array_equal(ours, theirs[:5])


def test_voxel_grid_equals_tonics() -> None:
    # tonic's bins are centred at b / T of the time to the last event, Zhu et al.'s at b / (T - 1): its five are the
    # first five of our six.
    events = make_events(2000)
    t = events.t - events.t[0]
    shifted = Events(t, events.x, events.y, events.p)
    to_grid = tonic_transforms.ToVoxelGrid(sensor_size=(SENSOR_HW[1], SENSOR_HW[0], 2), n_time_bins=5)
    ours = voxel_grid(shifted, 0, int(t[-1]), 6, SENSOR_HW)
    np.testing.assert_allclose(ours[:5], to_grid(structured(shifted)), atol=1e-4)


def test_scaled_by_hand() -> None:
    moved = scaled(some((0, 0, 0, 1), (1, 303, 239, 1), (2, 152, 120, 1)), (240, 304), (320, 320))
    assert moved.x.tolist() == [0, 318, 160]
    assert moved.y.tolist() == [0, 318, 160]


@pytest.mark.parametrize("arguments", [(10, 10, 1), (10, 5, 1), (0, 10, 0)])
def test_windows_without_time_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected some time"):
        counts(EVENTS, *arguments, HW)


@pytest.mark.parametrize("make", [lambda: Counts(cutoff=0), lambda: Signed(128), lambda: VoxelGrid(0)])
def test_cutoffs_out_of_range(make: Any) -> None:
    with pytest.raises(ValueError, match=r"dataset\.representation\.cutoff"):
        make()
