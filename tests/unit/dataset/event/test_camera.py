"""The simulated camera and the scenes that are made with it, and with a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from event_data import shared_data

from emsyolo.dataset.event.camera import EventCamera
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.moving_digits import LABELS_US, SENSOR_HW, moving_digits
from emsyolo.dataset.event.nmnist import LABELS_US as NMNIST_LABELS_US
from emsyolo.dataset.event.nmnist import Glyph, glyph_box, load_glyphs, nmnist_scene

QUIET = EventCamera(threshold=0.2, threshold_sigma=0.0, refractory_us=0, noise_hz=0.0)


def film(*logs: float, step_us: int = 1000) -> list[tuple[int, np.ndarray]]:
    """Frames of 2x3 px of which the pixel in row 1, column 2 has these logarithms of luminance; the rest is still."""
    frames = []
    for i, value in enumerate(logs):
        luminance = np.full((2, 3), 0.5)
        luminance[1, 2] = np.exp(value)
        frames.append((i * step_us, luminance))
    return frames


def test_a_rise_by_three_and_a_half_thresholds_gives_three_on_events_evenly_in_time() -> None:
    events = QUIET.record(film(-2.0, -1.3), np.random.default_rng(0))
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([2] * 3, [1] * 3, [1] * 3)
    # The line crosses 0.2, 0.4 and 0.6 of 0.7 at these shares of the millisecond.
    np.testing.assert_allclose(events.t, [286, 571, 857], atol=2)


def test_a_fall_gives_off_events_and_what_is_left_over_counts_later() -> None:
    events = QUIET.record(film(-1.0, -1.3, -1.5), np.random.default_rng(0))
    assert events.p.tolist() == [0, 0]
    np.testing.assert_allclose(events.t, [667, 1500], atol=2)


def test_stillness_is_silent() -> None:
    assert len(QUIET.record(film(-1.0, -1.0, -1.0), np.random.default_rng(0))) == 0


def test_refractory_time_limits_the_rate() -> None:
    slow = EventCamera(threshold=0.2, threshold_sigma=0.0, refractory_us=500, noise_hz=0.0)
    events = slow.record(film(-4.0, -0.9), np.random.default_rng(0))  # 15 crossings in a millisecond
    assert len(events) == 2
    assert np.diff(events.t)[0] >= 500


def test_noise_has_its_rate_and_both_polarities() -> None:
    noisy = EventCamera(noise_hz=5.0)
    still = [(i * 100_000, np.full((40, 50), 0.5)) for i in range(21)]
    events = noisy.record(still, np.random.default_rng(0))
    expected = 5.0 * 40 * 50 * 2.0
    assert abs(len(events) - expected) < 5 * np.sqrt(expected)
    assert abs(events.p.mean() - 0.5) < 0.02
    assert (np.diff(events.t) >= 0).all()


def test_equal_seeds_give_equal_events_and_time_must_ascend() -> None:
    camera = EventCamera(noise_hz=50.0)
    one, two = (camera.record(film(-2.0, -1.0), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.t, two.t)
    with pytest.raises(ValueError, match="ascending times"):
        camera.record([*film(-2.0, -1.0), (500, np.ones((2, 3)))], np.random.default_rng(0))
    with pytest.raises(ValueError, match="no frame"):
        camera.record([], np.random.default_rng(0))


def test_moving_digits_lie_where_their_boxes_say() -> None:
    take = moving_digits(0, "test")
    boxes = take.boxes
    assert set(boxes.t_us.tolist()) == set(LABELS_US)
    assert (boxes.boxes_xyxy[:, :2] >= 0).all()
    assert (boxes.boxes_xyxy[:, 2:] <= [SENSOR_HW[1], SENSOR_HW[0]]).all()
    last = boxes.select(boxes.t_us == LABELS_US[-1])
    events = take.events.select(take.events.t >= LABELS_US[-1] - 20_000)
    hit = np.zeros(len(events), dtype=bool)
    for x0, y0, x1, y1 in last.boxes_xyxy:
        hit |= (events.x >= x0 - 3) & (events.x < x1 + 3) & (events.y >= y0 - 3) & (events.y < y1 + 3)
    assert hit.mean() > 0.8
    again = moving_digits(0, "test")
    np.testing.assert_array_equal(again.events.t, take.events.t)
    assert len(moving_digits(1, "test").events) != len(take.events)


def square(seed: int = 0) -> Events:
    """A glyph: events in a square of 10 px at (5, 8), one pixel of noise far off."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(5, 15, 2000), rng.integers(8, 18, 2000)
    x[7], y[7] = 33, 33
    t = np.sort(rng.integers(0, 300_000, 2000))
    return Events(t - t[0], x.astype(np.uint16), y.astype(np.uint16), np.ones(2000, np.uint8))


def test_box_of_a_glyph_leaves_noise_out() -> None:
    assert glyph_box(square()).tolist() == [5, 8, 15, 18]


def test_scene_of_glyphs_has_events_in_every_box_at_every_label() -> None:
    glyphs = [Glyph(square(i), glyph_box(square(i)), i) for i in range(3)]
    take = nmnist_scene(4, "test", glyphs)
    assert (np.diff(take.events.t) >= 0).all()
    for t_us in NMNIST_LABELS_US:
        here = take.boxes.select(take.boxes.t_us == t_us)
        window = take.events.select((take.events.t >= t_us - 120_000) & (take.events.t < t_us))
        assert len(here) >= 1
        for x0, y0, x1, y1 in here.boxes_xyxy:
            inside = (window.x >= x0) & (window.x < x1) & (window.y >= y0) & (window.y < y1)
            assert inside.sum() > 500


def test_missing_and_damaged_lists_of_nmnist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train1K\.txt: looked for it.*NUMBER\.bs2"):
        load_glyphs(tmp_path, "train")
    (tmp_path / "test100.txt").write_text("1 5\nabc\n")
    (tmp_path / "1.bs2").write_bytes(bytes(10))
    with pytest.raises(ValueError, match=r"test100\.txt, line 2: 'abc'"):
        load_glyphs(tmp_path, "test")
    (tmp_path / "test100.txt").write_text("9 5\n")
    with pytest.raises(FileNotFoundError, match=r"9\.bs2"):
        load_glyphs(tmp_path, "test")


def test_real_glyphs_are_digits_of_their_size() -> None:
    glyphs = load_glyphs(shared_data() / "nmnist", "test")
    sides = np.array([one.box_xyxy[2:] - one.box_xyxy[:2] for one in glyphs])
    assert len(glyphs) == 100
    assert (sides >= 5).all()
    assert 15 < np.median(sides) < 30
