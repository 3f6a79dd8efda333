"""Scenes of a real event camera's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from event_data import shared_data

from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.nmnist import LABELS_US as NMNIST_LABELS_US
from emsyolo.dataset.event.nmnist import Glyph, glyph_box, load_glyphs, nmnist_scene


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
