"""Decoding and anchors by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emsyolo.geometry.anchors import cell_grid, decode_yolov5, kmeans_anchors, shape_iou


def test_grid_is_x_then_y() -> None:
    grid = cell_grid(2, 3, like=torch.zeros(1))
    assert grid.shape == (2, 3, 2)
    assert grid[1, 2].tolist() == [2, 1]


def test_decode_by_hand() -> None:
    raw = torch.zeros(1, 1, 2, 3, 6, dtype=torch.float64)
    raw[0, 0, 1, 2, :4] = torch.logit(torch.tensor([0.75, 0.5, 0.25, 0.5]).double())
    boxes = decode_yolov5(raw, 16, torch.tensor([[10.0, 20.0]]))
    # x: (2*0.75 - 0.5 + 2) * 16, y: (2*0.5 - 0.5 + 1) * 16, w: (2*0.25)^2 * 10, h: (2*0.5)^2 * 20
    assert boxes[0, 0, 1, 2].tolist() == pytest.approx([48.0, 24.0, 2.5, 20.0])
    assert boxes[0, 0, 0, 0].tolist() == pytest.approx([8.0, 8.0, 10.0, 20.0])


def test_shape_iou_by_hand() -> None:
    assert shape_iou(np.array([[4.0, 2.0]]), np.array([[2.0, 4.0], [4.0, 2.0]])).tolist() == [[4 / 12, 1.0]]


def test_kmeans_finds_well_separated_sizes() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[10.0, 30.0], [50.0, 20.0], [100.0, 120.0]])
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in centres])
    anchors = kmeans_anchors(sizes, 3)
    np.testing.assert_allclose(anchors, centres, rtol=0.03)
    np.testing.assert_array_equal(anchors, kmeans_anchors(sizes, 3))


def test_too_few_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 6 training boxes, found 2"):
        kmeans_anchors(np.ones((2, 2)), 6)
