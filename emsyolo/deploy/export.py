"""What export.py asks of a format, and how near an exported graph comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torchvision.ops import box_iou

from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Candidates

SAME_IOU, SAME_SCORE = 0.99, 0.01  # of detections that are alike


class Export(Protocol):
    """A format.

    Attributes:
        suffix: of its files, with the dot.
        needs_frames: whether it must be shown some.
    """

    suffix: str
    needs_frames: bool

    def write(self, detector: Detector, frames: Tensor, path: Path, about: Mapping[str, Any]) -> list[Path]:
        """Write a detector.

        Args:
            detector: a trained one; left untouched.
            frames: an example `[T0, N, C, H, W]` in [0, 1].
            path: of the file; others may lie beside it.
            about: what stands in the file, as plain values: `class_names`, `model`, `T`, `size_hw`, and the
                checkpoint's own `config`.

        Returns:
            The files.

        Raises:
            ValueError: a network that the format cannot hold.
            ModuleNotFoundError: the format's library is not installed.
        """

    def run(self, paths: list[Path], detector: Detector, frames: Tensor) -> dict[Path, Candidates]:
        """What each written file finds in frames, as far as it can be run here."""


@dataclass(frozen=True)
class Agreement:
    """How near a graph comes to the trained detector.

    Attributes:
        apart: the largest difference of a value of a box (px) or score that 999 of 1000 candidates keep within; the
            last may differ by more, because a potential beside the threshold may fire in one and not the other.
        detections: how many the detector finds.
        alike: how many of them the graph finds, too: of the same class, IoU >= 0.99, scores within 0.01.
    """

    apart: float
    detections: int
    alike: int


def agreement(found: Candidates, expected: Candidates, postprocess: Postprocess) -> Agreement:
    """How near the candidates of a graph come to those of the detector it was made of."""
    apart = max(
        float(np.quantile((a - b).abs().amax(dim=-1), 0.999))
        for a, b in ((found.boxes_xyxy, expected.boxes_xyxy), (found.scores, expected.scores))
    )
    detections = alike = 0
    for ours, theirs in zip(postprocess.select(found), postprocess.select(expected), strict=True):
        detections += len(theirs)
        if len(ours) and len(theirs):
            same = box_iou(theirs.boxes_xyxy, ours.boxes_xyxy) >= SAME_IOU
            same &= theirs.labels[:, None] == ours.labels
            same &= (theirs.scores[:, None] - ours.scores).abs() <= SAME_SCORE
            alike += int(same.any(dim=1).sum())
    return Agreement(apart, detections, alike)
