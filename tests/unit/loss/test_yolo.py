"""Assignment and loss by hand."""

from __future__ import annotations

import math

import pytest
import torch

from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.types import HeadMaps, Targets


def head_maps(maps: tuple[torch.Tensor, ...], strides: tuple[int, ...], anchors: tuple[torch.Tensor, ...]) -> HeadMaps:
    return HeadMaps(maps, AnchorLayout(strides, anchors, maps[0].shape[-1] - 5))


def targets(*boxes: tuple[float, float, float, float], ignore: bool = False) -> Targets:
    """Boxes of class 1."""
    n = len(boxes)
    return Targets(torch.tensor(boxes).view(-1, 4), torch.ones(n, dtype=torch.int64), torch.full((n,), ignore))


def test_loss_by_hand() -> None:
    # One 2x2 map of stride 16 (a 32x32 image), one anchor 16x16, two classes, all raw values 0: every box is the
    # anchor about its cell's centre, all probabilities are 1/2. The truth is that of cell (1, 1), but 8 px wide.
    raw = torch.zeros(1, 1, 2, 2, 7, dtype=torch.float64)
    maps = head_maps((raw,), (16,), (torch.tensor([[16.0, 16.0]]),))
    parts = YOLOLoss()(maps, [targets((20.0, 16.0, 28.0, 32.0))])
    # Centre (24, 24) is exactly mid-cell: no neighbours. IoU = 8*16 / 16*16 = 1/2, same centre,
    # v = 4/pi^2 (atan(1) - atan(1/2))^2, alpha = v / (1 - IoU + v).
    v = 4 / math.pi**2 * (math.atan(8 / 16) - math.atan(1)) ** 2
    ciou = 0.5 - v * v / (0.5 + v)
    assert parts["box"].item() == pytest.approx(0.05 * 3 * (1 - ciou), rel=1e-6)
    # Objectness: BCE of p = 1/2 is log 2 whatever the target. Area 32*32 of 640*640.
    assert parts["objectness"].item() == pytest.approx(1.0 * math.log(2) * 3 * 32 * 32 / 640**2)
    assert parts["class"].item() == pytest.approx(0.5 * math.log(2) * 2 / 80 * 3)
    total = parts["box"] + parts["objectness"] + parts["class"]
    assert parts["loss"].item() == pytest.approx(total.item())


def test_objectness_pulls_towards_the_ciou_and_sums_over_the_batch() -> None:
    raw = torch.zeros(2, 1, 2, 2, 6, dtype=torch.float64, requires_grad=True)
    maps = head_maps((raw,), (16,), (torch.tensor([[16.0, 16.0]]),))
    parts = YOLOLoss(area_scaled=False)(maps, [targets((16.0, 16.0, 32.0, 32.0)), targets()])
    parts["loss"].backward()
    assert raw.grad is not None
    gradient = raw.grad[..., 4]
    # d/dt BCE = p - target = 1/2 - 1 where the box fits exactly, 1/2 elsewhere; mean over 8 places; gain 3; batch 2
    expected = torch.full((2, 1, 2, 2), 0.5 * 3 * 2 / 8, dtype=torch.float64)
    expected[0, 0, 1, 1] *= -1
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


def test_two_levels_weigh_the_fine_one_four_times() -> None:
    raws = tuple(torch.zeros(1, 1, s, s, 6, dtype=torch.float64) for s in (4, 2))
    maps = head_maps(raws, (16, 32), (torch.tensor([[16.0, 16.0]]), torch.tensor([[64.0, 64.0]])))
    parts = YOLOLoss(area_scaled=False)(maps, [targets()])
    assert parts["objectness"].item() == pytest.approx((4 + 1) * math.log(2) * 3 / 2)
    assert parts["box"].item() == 0
    assert parts["class"].item() == 0


def test_ignored_boxes_are_not_trained_on() -> None:
    raw = torch.randn(1, 1, 2, 2, 7, dtype=torch.float64)
    maps = head_maps((raw,), (16,), (torch.tensor([[16.0, 16.0]]),))
    box = (16.0, 16.0, 32.0, 32.0)
    assert YOLOLoss()(maps, [targets(box, ignore=True)]) == YOLOLoss()(maps, [targets()])


@pytest.mark.parametrize("size", [-12.0, -40.0, -200.0])
def test_a_predicted_box_without_extent_has_a_finite_loss(size: float) -> None:
    # (2 sigmoid(-12))^2 * 16 px = 6e-10 px: beside a centre at 8 px, nothing in float32.
    raw = torch.zeros(1, 1, 2, 2, 7)
    raw[..., 2:4] = size
    raw.requires_grad_()
    anchors = (torch.tensor([[16.0, 16.0]]),)
    maps = head_maps((raw,), (16,), anchors)
    for taught in (None, head_maps((raw.detach(),), (16,), anchors)):
        loss = YOLOLoss()(maps, [targets((20.0, 16.0, 28.0, 32.0))], taught)["loss"]
        (gradient,) = torch.autograd.grad(loss, raw)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_order_of_boxes_does_not_matter() -> None:
    raw = torch.randn(1, 1, 3, 4, 7, dtype=torch.float64)
    maps = head_maps((raw,), (16,), (torch.tensor([[16.0, 16.0]]),))
    boxes = [(16.0, 16.0, 32.0, 32.0), (15.0, 17.0, 33.0, 30.0), (20.0, 12.0, 34.0, 36.0)]
    one, other = (YOLOLoss()(maps, [targets(*b)])["loss"].item() for b in (boxes, boxes[::-1]))
    assert one == pytest.approx(other, rel=1e-12)


def test_nothing_pulls_on_maps_that_are_the_teachers() -> None:
    torch.manual_seed(0)
    raw = torch.randn(2, 3, 2, 2, 7, dtype=torch.float64)
    anchors = torch.tensor([[16.0, 16.0], [8.0, 16.0], [24.0, 10.0]])

    def pull(distance: float) -> torch.Tensor:
        own = (raw + distance).requires_grad_()
        taught, maps = (head_maps((one,), (16,), (anchors,)) for one in (raw, own))
        with_teacher = YOLOLoss(distillation=2.0)(maps, [targets(), targets()], taught)
        without = YOLOLoss()(maps, [targets(), targets()])
        (with_teacher["loss"] - without["loss"]).backward()
        assert own.grad is not None
        return own.grad

    assert pull(0.0).abs().max() < 1e-9  # CIoU has an epsilon
    assert (pull(0.1)[..., 4:] > 0).all()
    assert (pull(-0.1)[..., 4:] < 0).all()
