"""Recordings in steps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emsyolo.dataset.event.walk import Part, parts, walk

TIMES = st.lists(st.integers(0, 2_000_000), max_size=12, unique=True).map(sorted)


def test_a_step_ends_at_every_label() -> None:
    # 250 ms are 6.25 steps of 40 ms: six of 41.7 ms.
    found = walk([100_000, 350_000], 0, 400_000, 40_000)
    assert found.edges_us.tolist() == [
        -20_000, 20_000, 60_000, 100_000, 141_666, 183_333, 225_000, 266_666, 308_333, 350_000, 390_000, 430_000,
    ]  # fmt: skip
    assert found.ends == (3, 9)
    assert len(found) == 11


def test_labels_close_together_are_answered_by_one_step() -> None:
    found = walk([50_000, 50_000 + 9_000, 90_000], 0, 90_000, 20_000)
    assert found.ends == (3, 3, 5)
    assert found.edges_us.tolist() == [-10_000, 10_000, 30_000, 50_000, 70_000, 90_000]


def test_beyond_a_recording_steps_are_as_trained() -> None:
    found = walk([50_000], 0, 60_000, 25_000)
    assert found.edges(-1, 5) == [-25_000, 0, 25_000, 50_000, 75_000, 100_000, 125_000]


@given(TIMES, st.integers(5_000, 200_000), st.integers(0, 2_000_000))
def test_every_event_is_in_one_step(times_us: list[int], step_us: int, end_us: int) -> None:
    found = walk(times_us, 0, end_us, step_us)
    edges = found.edges_us
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= 0 or not times_us
    assert edges[-1] >= end_us
    assert len(found.ends) == len(times_us)
    for time_us, end in zip(times_us, found.ends, strict=True):
        assert 1 <= end <= len(found)
        assert abs(edges[end] - time_us) <= step_us / 2
    lengths = np.diff(edges)
    assert (lengths >= step_us // 2).all()
    assert (lengths <= 1.5 * step_us + 1).all()


def test_a_part_ends_where_nothing_is_labelled_for_long() -> None:
    assert parts((5, 9, 30, 34), 7, length=8, max_gap=8) == [Part(7, 0, 9), Part(7, 22, 34)]
    assert parts((5, 9, 30, 34), 7, length=30, max_gap=21) == [Part(7, 0, 34)]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20).map(sorted), st.integers(1, 30), st.data())
def test_every_clip_of_a_part_has_a_label(ends: list[int], length: int, data: st.DataObject) -> None:
    max_gap = data.draw(st.integers(1, length))
    seen = []
    for part in parts(ends, 0, length, max_gap):
        for first in range(part.first, part.last, length):
            within = [end for end in ends if first < end <= min(first + length, part.last)]
            assert within
            seen += within
    assert sorted(seen) == ends
