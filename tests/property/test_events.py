"""Laws of recordings, frames and the augmentation of events."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_data import SENSOR_HW, make_events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsyolo.dataset.event.augment import DropEvents, DropTime, FlipLeftRight, Noise, ShiftTime, SwapPolarity, Zoom
from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.event.representation import counts, last_polarity, signed, voxel_grid
from emsyolo.types import Targets

WINDOW = (20_000, 80_000)
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVENTS = st.builds(make_events, st.integers(0, 300), st.integers(0, 10_000))
AUGMENT = [
    FlipLeftRight(1.0),
    SwapPolarity(1.0),
    ShiftTime(30_000),
    Zoom(0.5, 0.3),
    DropEvents(0.9),
    DropTime(1.0, 0.5),
    Noise(50),
]


def inside(events: Events) -> int:
    return int(((events.t >= WINDOW[0]) & (events.t < WINDOW[1])).sum())


@SLOW
@given(EVENTS, st.integers(1, 7), st.integers(1, 3))
def test_frames_conserve_the_events_of_the_window(events: Events, steps: int, micro_bins: int) -> None:
    frames = counts(events, *WINDOW, steps, SENSOR_HW, micro_bins)
    assert int(frames.sum()) == inside(events)
    whole = counts(events, *WINDOW, 1, SENSOR_HW)
    np.testing.assert_array_equal(frames.reshape(-1, 2, *SENSOR_HW).sum(axis=0), whole[0])


@SLOW
@given(EVENTS, st.integers(-10_000, 10_000), st.integers(1, 5))
def test_shifting_events_and_window_alike_changes_nothing(events: Events, by: int, steps: int) -> None:
    moved = Events(events.t + by, events.x, events.y, events.p)
    window = (WINDOW[0] + by, WINDOW[1] + by)
    for make in (counts, signed, voxel_grid, last_polarity):
        np.testing.assert_array_equal(make(moved, *window, steps, SENSOR_HW), make(events, *WINDOW, steps, SENSOR_HW))


@SLOW
@given(EVENTS, st.integers(1, 5))
def test_swapped_polarity_swaps_channels_and_signs(events: Events, steps: int) -> None:
    swapped = Events(events.t, events.x, events.y, (1 - events.p).astype(np.uint8))
    arguments = (*WINDOW, steps, SENSOR_HW)
    np.testing.assert_array_equal(counts(swapped, *arguments), counts(events, *arguments)[:, ::-1])
    np.testing.assert_array_equal(signed(swapped, *arguments), -signed(events, *arguments))
    np.testing.assert_allclose(voxel_grid(swapped, *arguments), -voxel_grid(events, *arguments), atol=1e-5)


@SLOW
@given(EVENTS, st.integers(1, 5))
def test_mirrored_events_give_mirrored_frames(events: Events, steps: int) -> None:
    mirrored = Events(events.t, (SENSOR_HW[1] - 1 - events.x).astype(np.uint16), events.y, events.p)
    for make in (counts, signed, voxel_grid, last_polarity):
        frames = make(events, *WINDOW, steps, SENSOR_HW)
        np.testing.assert_array_equal(make(mirrored, *WINDOW, steps, SENSOR_HW), frames[..., ::-1])


@SLOW
@given(EVENTS, st.lists(st.integers(-1000, 101_000), max_size=6))
def test_any_cut_of_a_recording_gives_the_whole(tmp_path: Path, events: Events, cuts: list[int]) -> None:
    write_dat(tmp_path / "a.dat", events, SENSOR_HW)
    recording = open_recording(tmp_path / "a.dat")
    edges = [-5000, *sorted(cuts), 200_000]
    parts = [recording.window(a, b) for a, b in pairwise(edges)]
    for axis in "txyp":
        np.testing.assert_array_equal(np.concatenate([getattr(one, axis) for one in parts]), getattr(events, axis))
    for (a, b), part in zip(pairwise(edges), parts, strict=True):
        brute = events.select((events.t >= a) & (events.t < b))
        np.testing.assert_array_equal(part.x, brute.x)


@SLOW
@given(EVENTS, st.sampled_from(AUGMENT), st.integers(0, 1000))
def test_augmentation_stays_in_bounds_and_leaves_its_input(events: Events, change: Any, seed: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 30.0], [40.0, 10.0, 64.0, 48.0]])
    targets = Targets(boxes.clone(), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.bool))
    before = [getattr(events, axis).copy() for axis in "txyp"]
    torch.manual_seed(seed)
    windowed = events.select((events.t >= WINDOW[0]) & (events.t < WINDOW[1]))
    drawn = change.draw()
    changed, moved = drawn.events(windowed, WINDOW, SENSOR_HW), drawn.boxes(targets, SENSOR_HW)
    for axis, values in zip("txyp", before, strict=True):
        np.testing.assert_array_equal(getattr(events, axis), values)
    assert torch.equal(targets.boxes_xyxy, boxes)
    assert (np.diff(changed.t) >= 0).all()
    assert ((changed.t >= WINDOW[0]) & (changed.t < WINDOW[1])).all()
    assert (changed.x < SENSOR_HW[1]).all()
    assert (changed.y < SENSOR_HW[0]).all()
    assert set(np.unique(changed.p)) <= {0, 1}
    low, high = moved.boxes_xyxy[:, :2], moved.boxes_xyxy[:, 2:]
    assert (low >= 0).all()
    assert (high > low).all()
    assert (high <= torch.tensor([64.0, 48.0])).all()
    torch.manual_seed(seed)
    again = change.draw().events(windowed, WINDOW, SENSOR_HW)
    np.testing.assert_array_equal(again.t, changed.t)


def test_flip_moves_boxes_with_their_events() -> None:
    targets = Targets(torch.tensor([[10.0, 5.0, 20.0, 9.0]]), torch.tensor([0]), torch.tensor([False]))
    one = Events(np.array([30_000]), np.array([10], np.uint16), np.array([5], np.uint16), np.array([1], np.uint8))
    change = FlipLeftRight(1.0).draw()
    events, moved = change.events(one, WINDOW, SENSOR_HW), change.boxes(targets, SENSOR_HW)
    assert events.x.tolist() == [53]
    assert moved.boxes_xyxy.tolist() == [[44.0, 5.0, 54.0, 9.0]]


@pytest.mark.parametrize(
    "make", [lambda: FlipLeftRight(1.5), lambda: Zoom(1.0), lambda: DropEvents(-0.1), lambda: Noise(-1)]
)
def test_settings_out_of_range(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()
