"""What export.py asks of a format, and how near an exported graph comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Candidates

SAME_IOU, SAME_SCORE = 0.99, 0.01  # of detections that are alike
TOLERANCE = 1e-2  # px, or shares of 1
ALIKE = 0.99  # of the detections
NOISE, DRAWS = 1e-6, 16  # relative, of frames: what another order of sums makes; how often it is drawn


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
        images: how many images there are.
        same_images: on how many of them 999 of 1000 candidates differ by `TOLERANCE` or less.
    """

    apart: float
    detections: int
    alike: int
    images: int
    same_images: int

    @property
    def near(self) -> bool:
        """It is the same but for rounding."""
        return self.apart <= TOLERANCE and self.alike >= ALIKE * self.detections


def own_agreement(
    detector: Detector, frames: Tensor, expected: Candidates, postprocess: Postprocess
) -> tuple[Agreement, Agreement]:
    """How near a detector comes to itself where its frames differ by what rounding makes.

    A spike of many levels, or a potential beside the threshold, may round to another number, after which all of an
    image differs. No graph can be nearer than that.

    Returns:
        Of some draws of noise the one with the fewest same images, and the one with the fewest detections alike.
    """
    generator = torch.Generator().manual_seed(0)
    draws = []
    with torch.no_grad():
        for _ in range(DRAWS):
            noise = 1 + NOISE * torch.randn(frames.shape, generator=generator)
            draws.append(agreement(detector(frames * noise).candidates(), expected, postprocess))
    return min(draws, key=lambda one: one.same_images), min(draws, key=lambda one: one.alike)


def agreement(found: Candidates, expected: Candidates, postprocess: Postprocess) -> Agreement:
    """How near the candidates of a graph come to those of the detector it was made of."""
    pairs = ((found.boxes_xyxy, expected.boxes_xyxy), (found.scores, expected.scores))
    differences = torch.stack([(a - b).abs().amax(dim=-1) for a, b in pairs]).amax(dim=0)  # [N, P]
    by_image = [float(np.quantile(one, 0.999)) for one in differences]
    detections = alike = 0
    for ours, theirs in zip(postprocess.select(found), postprocess.select(expected), strict=True):
        detections += len(theirs)
        if len(ours) and len(theirs):
            same = box_iou(theirs.boxes_xyxy, ours.boxes_xyxy) >= SAME_IOU
            same &= theirs.labels[:, None] == ours.labels
            same &= (theirs.scores[:, None] - ours.scores).abs() <= SAME_SCORE
            alike += int(same.any(dim=1).sum())
    apart = float(np.quantile(differences, 0.999))
    return Agreement(apart, detections, alike, len(by_image), sum(one <= TOLERANCE for one in by_image))
