"""Training on streams: the plan of an epoch, and its clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_data import SENSOR_HW, make_events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from emsyolo.dataset.augment import Letterbox
from emsyolo.dataset.collate import collate_clips
from emsyolo.dataset.event.augment import DropEvents, FlipLeftRight, Zoom
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.event.representation import Counts
from emsyolo.dataset.event.walk import parts
from emsyolo.dataset.images import plain_record
from emsyolo.dataset.sequence import Clips, Streams, StreamSampler

STEP_US = 10_000


def recordings(folder: Path, times_ms: list[list[int]], **options: Any) -> EventDataset:
    """Recordings of 100 ms with boxes at the given times."""
    records = []
    for number, times in enumerate(times_ms):
        path = folder / f"{number}.npy"
        events = make_events(3000, seed=number)
        np.save(path, np.stack([events.t, events.x, events.y, events.p], axis=1))
        for time_ms in times:
            records.append(plain_record(len(records), path, SENSOR_HW, [[4, 6, 30, 40]], [0], t_us=1000 * time_ms))
    return EventDataset(records, ["a"], "made", representation=Counts(), steps=2, window_us=2 * STEP_US, **options)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(
    times=st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=4, unique=True), min_size=1, max_size=4),
    length=st.integers(1, 5),
    batch_size=st.integers(2, 5),
    world=st.sampled_from([1, 2]),
    epoch=st.integers(0, 3),
)
def test_streams_walk_recordings_in_order(
    tmp_path: Path, times: list[list[int]], length: int, batch_size: int, world: int, epoch: int
) -> None:
    data = recordings(tmp_path, [[10 * t for t in sorted(one)] for one in times])
    share = 0.5
    plans = []
    for rank in range(world):
        sampler = StreamSampler(data, Streams(length, share), batch_size, seed=1, rank=rank, world_size=world)
        sampler.set_epoch(epoch)
        plans.append(list(sampler))
        assert len(plans[-1]) == len(sampler)
    assert len({len(plan) for plan in plans}) == 1
    streams = round(batch_size * share)
    walked: list[tuple[int, int]] = []
    for plan in plans:
        for place in range(batch_size):
            before = None
            for batch in plan:
                key = batch[place]
                if key.goes_on:
                    assert place < streams
                    assert before is not None
                    assert (key.recording, key.first, key.scene) == (
                        before.recording,
                        before.first + length,
                        before.scene,
                    )
                    assert key.noise != before.noise
                before = key
                if place < streams:
                    walked.append((key.recording, key.first))
                else:
                    # A random clip ends at a labelled time.
                    assert key.first + length in data.walks[key.recording][0].ends
    chunks = [
        (number, first)
        for number, (steps, _) in enumerate(data.walks)
        for part in parts(steps.ends, number, length, length)
        for first in range(part.first, part.last, length)
    ]
    # Places that are free go round again until the batch is full, and may leave the end of the longest for that.
    assert len(walked) == -(-len(chunks) // (streams * world)) * streams * world
    assert set(walked) <= set(chunks)


def test_the_rest_of_an_epoch_is_the_same_after_a_break(tmp_path: Path) -> None:
    data = recordings(tmp_path, [[20, 50, 90], [40, 60], [30]])
    whole = StreamSampler(data, Streams(3), 4, seed=0)
    whole.set_epoch(2)
    again = StreamSampler(data, Streams(3), 4, seed=0)
    again.set_epoch(2)
    again.go_on(2)
    keys = list(whole)
    assert list(again) == keys[2:]
    whole.set_epoch(3)
    assert list(whole) != keys


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    augment = {"flip": FlipLeftRight(0.5), "zoom": Zoom(0.2), "drop": DropEvents(0.5)}
    data = recordings(tmp_path, [[20, 50, 90], [40, 60]], augment=augment)
    clips = Clips(data, 3, Letterbox((64, 64), fill=0))

    def loaded(count: int) -> list[Any]:
        sampler = StreamSampler(data, Streams(3), 4, seed=0)
        return list(
            DataLoader(clips, batch_sampler=sampler, collate_fn=lambda c: collate_clips(c, 2), num_workers=count)
        )

    for one, other in zip(loaded(workers), loaded(0), strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.reads == other.reads
        assert torch.equal(one.goes_on, other.goes_on)
        for mine, theirs in zip(one.targets, other.targets, strict=True):
            assert torch.equal(mine.boxes_xyxy, theirs.boxes_xyxy)


def test_a_scene_is_changed_in_one_way_as_long_as_it_lasts(tmp_path: Path) -> None:
    plain = recordings(tmp_path, [[20, 50, 90]])
    mirrored = recordings(tmp_path, [[20, 50, 90]], augment={"flip": FlipLeftRight(0.5)})
    sampler = StreamSampler(plain, Streams(3, stream_share=1.0), 1, seed=0)
    ways = set()
    for epoch in range(8):
        sampler.set_epoch(epoch)
        scenes: dict[int, bool] = {}
        for (key,) in sampler:
            frames = Clips(plain, 3, Letterbox(SENSOR_HW))[key].frames
            clip = Clips(mirrored, 3, Letterbox(SENSOR_HW))[key]
            flipped = torch.equal(clip.frames, frames.flip(-1))
            assert flipped or torch.equal(clip.frames, frames)
            assert scenes.setdefault(key.scene, flipped) == flipped
            assert {sample.targets.boxes_xyxy[0, 0].item() for sample in clip.samples} == {34.0 if flipped else 4.0}
            ways.add(flipped)
    assert ways == {False, True}


def test_a_clip_that_ends_with_a_window_shows_the_same(tmp_path: Path) -> None:
    data = recordings(tmp_path, [[50]])
    clip = data.clip(0, 3, 2)
    window = data[0]
    assert torch.equal(clip.frames, window.frames)
    assert clip.ends == (2,)
    assert torch.equal(clip.samples[0].targets.boxes_xyxy, window.targets.boxes_xyxy)


def test_settings_that_make_no_stream(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sequence=0"):
        Streams(0)
    with pytest.raises(ValueError, match="max_gap=9"):
        Streams(4, max_gap=9)
    with pytest.raises(ValueError, match="at least one place"):
        StreamSampler(recordings(tmp_path, [[50]]), Streams(4), 1, seed=0)
