"""Videos keep their turn and their times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from emsyolo.app.video import _Writer, upright

av = pytest.importorskip("av")


class Frame(SimpleNamespace):
    def to_ndarray(self, format: str) -> Any:
        assert format == "rgb24"
        return self.pixels


@pytest.mark.parametrize(
    ("rotation", "corner"),
    [(0, (0, 0)), (90, (3, 0)), (-90, (0, 2)), (180, (2, 3)), (270, (0, 2)), (-180, (2, 3))],
)
def test_frames_are_turned_as_the_display_matrix_says(rotation: int, corner: tuple[int, int]) -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[0, 0] = 9  # its place after the turn, counter-clockwise
    turned = upright(Frame(pixels=pixels, rotation=rotation))
    assert turned.shape == ((3, 3, 4) if rotation % 180 == 0 else (3, 4, 3))
    assert [tuple(one) for one in torch.nonzero(turned[0]).tolist()] == [corner]
    assert turned.is_contiguous()


def test_times_of_frames_are_kept(tmp_path: Path) -> None:
    base = Fraction(1, 1000)
    times = [0, 33, 67, 300, 340, 341, 1000]
    with av.open(str(tmp_path / "a.mp4"), "w") as target:
        writer = _Writer(target, SimpleNamespace(average_rate=Fraction(30), time_base=base))
        for t in times:
            writer.write(torch.full((3, 61, 81), t % 255, dtype=torch.uint8), SimpleNamespace(pts=t))
        writer.close()
    with av.open(str(tmp_path / "a.mp4")) as video:
        frames = list(video.decode(video=0))
    assert [round(float(frame.time), 3) for frame in frames] == [t / 1000 for t in times]
    assert {(frame.height, frame.width) for frame in frames} == {(60, 80)}


def test_frames_without_a_time_follow_at_the_rate_of_the_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as target:
        writer = _Writer(target, SimpleNamespace(average_rate=Fraction(10), time_base=Fraction(1, 1000)))
        for pts in (0, None, None, 300):
            writer.write(torch.zeros(3, 60, 80, dtype=torch.uint8), SimpleNamespace(pts=pts))
        writer.close()
    with av.open(str(tmp_path / "a.mp4")) as video:
        assert [round(float(frame.time), 3) for frame in video.decode(video=0)] == [0, 0.1, 0.2, 0.3]
