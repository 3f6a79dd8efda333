"""The assignment of points by hand."""

from __future__ import annotations

import torch

from emsyolo.loss.task_aligned import assign_aligned, padded_targets
from emsyolo.types import Targets

POINTS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])


def boxes(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows])


def test_points_inside_answer_and_the_best_gets_the_best_overlap() -> None:
    found = boxes([0, 0, 16, 8], [0, 0, 16, 10], [16, 0, 24, 8])
    scores = torch.full((1, 3, 2), 0.25)
    goal = assign_aligned(
        scores, found, POINTS, boxes([0, 0, 16, 8]), torch.tensor([[1]]), torch.tensor([[True]]), top=10
    )
    assert goal.answers.tolist() == [[True, True, False]]
    assert goal.boxes_xyxy[0, 1].tolist() == [0, 0, 16, 8]
    assert goal.scores[0, 0, 1] == torch.tensor(1.0)  # aligned best, and its box is exact
    assert 0 < goal.scores[0, 1, 1] < 1
    assert goal.scores[0, :, 0].tolist() == [0, 0, 0]
    only = assign_aligned(
        scores, found, POINTS, boxes([0, 0, 16, 8]), torch.tensor([[1]]), torch.tensor([[True]]), top=1
    )
    assert only.answers.tolist() == [[True, False, False]]


def test_a_point_that_two_boxes_claim_takes_the_better_overlap() -> None:
    found = boxes([0, 0, 16, 8], [0, 0, 16, 8], [0, 0, 1, 1])
    true = boxes([0, 0, 16, 8], [0, 0, 30, 8])
    goal = assign_aligned(
        torch.full((1, 3, 2), 0.5), found, POINTS, true, torch.tensor([[0, 1]]), torch.tensor([[True, True]])
    )
    assert goal.boxes_xyxy[0, :2].tolist() == [[0, 0, 16, 8], [0, 0, 16, 8]]


def test_images_without_boxes_and_ignored_ones() -> None:
    targets = [Targets.none(), Targets(torch.tensor([[0.0, 0, 16, 8]]), torch.tensor([1]), torch.tensor([True]))]
    true, labels, real = padded_targets(targets, POINTS)
    assert true.shape == (2, 0, 4)
    goal = assign_aligned(torch.rand(2, 3, 2), torch.rand(2, 3, 4), POINTS, true, labels, real)
    assert not goal.answers.any()
    assert not goal.scores.any()
