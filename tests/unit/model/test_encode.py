"""Frames as steps."""

from __future__ import annotations

import pytest
import torch

from emsyolo.model.detector import Detector


def test_bytes_are_scaled(tiny_detector: Detector) -> None:
    tiny_detector.eval()
    frames = torch.randint(0, 256, (1, 1, 3, 32, 64), dtype=torch.uint8)
    torch.testing.assert_close(tiny_detector(frames).maps[0], tiny_detector(frames.float() / 255).maps[0])


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_t_must_be_a_whole_number(tiny_detector: Detector, steps: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number of time steps, at least 1"):
        tiny_detector.T = steps  # type: ignore[assignment]
