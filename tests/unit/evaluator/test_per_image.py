"""The score of one image, by hand."""

from __future__ import annotations

import pytest
import torch

from emsyolo.evaluator.per_image import image_f1
from emsyolo.types import Detections, Targets


def boxes(*some: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(some, dtype=torch.float32).view(-1, 4)


def targets(*some: tuple[float, ...], ignore: tuple[int, ...] = ()) -> Targets:
    flags = torch.zeros(len(some), dtype=torch.bool)
    flags[list(ignore)] = True
    return Targets(boxes(*some), torch.zeros(len(some), dtype=torch.int64), flags)


def found(*some: tuple[float, ...], scores: tuple[float, ...], labels: tuple[int, ...] | None = None) -> Detections:
    return Detections(boxes(*some), torch.tensor(scores), torch.tensor(labels or (0,) * len(some)))


A, B = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 40.0, 40.0)


@pytest.mark.parametrize(
    ("detections", "truth", "expected"),
    [
        (found(A, B, scores=(0.9, 0.8)), targets(A, B), 1.0),
        (found(A, scores=(0.9,)), targets(A, B), 2 / 3),
        (found(A, A, scores=(0.9, 0.8)), targets(A), 2 / 3),  # the second is one too many
        (found(A, scores=(0.9,), labels=(1,)), targets(A), 0.0),
        (found(A, scores=(0.2,)), targets(A), 0.0),  # not sure enough
        (found(A, B, scores=(0.9, 0.8)), targets(A, B, ignore=(1,)), 1.0),
        (found(scores=()), targets(), 1.0),
        (found(A, scores=(0.9,)), targets(), 0.0),
        (found(scores=()), targets(A, ignore=(0,)), 1.0),
    ],
)
def test_f1_of_an_image(detections: Detections, truth: Targets, expected: float) -> None:
    assert image_f1(detections, truth, score_threshold=0.3) == pytest.approx(expected)
