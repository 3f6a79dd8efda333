"""The simulated event camera."""

from __future__ import annotations

import numpy as np
import pytest

from emsyolo.dataset.event.camera import EventCamera

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
