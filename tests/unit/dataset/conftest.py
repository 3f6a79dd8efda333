"""Small image files and samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emsyolo.types import Sample, Targets

Picture = Callable[..., Path]
Photos = Callable[..., None]
MakeSample = Callable[..., Sample]


@pytest.fixture
def picture() -> Picture:
    """Writes a noisy image of a given height and width, so that a cut takes pixels away."""

    def write(path: Path, size_hw: tuple[int, int] = (30, 40)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, picture: Picture) -> Photos:
    """Writes images of 30 x 40 px (height x width), by their paths in the data set's folder, `tmp_path / "my set"`."""

    def write(*names: str) -> None:
        for name in names:
            picture(tmp_path / "my set" / name)

    return write


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text file, by its path in that folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "my set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_sample() -> MakeSample:
    """A sample with random pixels and given boxes; the second box, if any, is to be ignored."""

    def make(
        size_hw: tuple[int, int] = (30, 40), boxes: list[list[float]] | None = None, steps: int = 1, channels: int = 3
    ) -> Sample:
        boxes = [[4.0, 6.0, 20.0, 26.0]] if boxes is None else boxes
        frames = torch.randint(256, (steps, channels, *size_hw), dtype=torch.uint8)
        targets = Targets(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.arange(len(boxes)),
            torch.tensor([i == 1 for i in range(len(boxes))]),
        )
        return Sample(frames, targets, 7, "seven", size_hw)

    return make
