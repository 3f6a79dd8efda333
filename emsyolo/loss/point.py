"""The loss of anchor-free heads, which is YOLOv8's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from emsyolo.distributed import summed, world_size
from emsyolo.geometry.iou import complete_iou
from emsyolo.geometry.points import PointLayout
from emsyolo.loss.task_aligned import assign_aligned, padded_targets
from emsyolo.types import HeadMaps, Targets

LAST = 0.01  # a side's goal stays this much below the last bin


@dataclass(frozen=True)
class PointLoss:
    """1 - CIoU, class BCE, and the cross-entropy of the bins beside a side (distribution focal loss), times the batch.

    Each is weighted by the score that a point shall give, and divided by their sum. Feng et al., ICCV 2021; Li et al.,
    NeurIPS 2020; as published with SpikeYOLO (Luo et al., ECCV 2024).

    Attributes:
        box: gain.
        classes: gain.
        dfl: gain.
        top: points that may answer for a box.
        alpha, beta: of the alignment.
        distillation: gain of the distance to a teacher's maps, where there is a teacher; the gains above stand before
            its parts, too.
    """

    parts: ClassVar[tuple[str, ...]] = ("box", "class", "dfl")
    reads: ClassVar[type[PointLayout]] = PointLayout

    box: float = 7.5
    classes: float = 0.5
    dfl: float = 1.5
    top: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    distillation: float = 1.0

    def __call__(
        self, head_maps: HeadMaps, targets: Sequence[Targets], taught: HeadMaps | None = None
    ) -> dict[str, Tensor]:
        """`loss` (scalar, to be minimised) and its parts (scalars, detached).

        With a teacher's maps `taught` there is a part `distillation`: classes against the teacher's scores, boxes and
        bins against its own, weighted by its best score. Mehta and Ozturk, 2018.
        """
        layout = head_maps.layout
        assert isinstance(layout, PointLayout)
        sides, classes = layout.flat(head_maps.maps)
        points, strides = layout.points(head_maps.maps)
        boxes = layout.boxes(sides, points)
        goal = assign_aligned(
            classes.detach().sigmoid(),
            boxes.detach() * strides,
            points * strides,
            *padded_targets(targets, boxes),
            top=self.top,
            alpha=self.alpha,
            beta=self.beta,
        )
        weights = goal.scores.sum(dim=-1)
        # Several processes divide by their mean, so that the mean of their losses is that of all.
        total = summed(weights.sum()).clamp(min=1) / world_size()
        image = torch.arange(len(classes), device=classes.device)[:, None].expand_as(goal.places)
        at, chosen = (image, goal.places), goal.chosen
        found = boxes[at]
        # What answers for no box takes part as if it were found exactly, so that no 0 meets an infinity.
        wanted = torch.where(chosen[..., None], (goal.boxes_xyxy / strides)[at], found.detach())
        shares = torch.where(chosen, weights[at], 0)
        aims = _sides(wanted, points[goal.places], layout.bins)
        parts = {
            "box": ((1 - complete_iou(found, wanted)) * shares).sum() / total,
            "class": bce(classes, goal.scores, reduction="sum") / total,
            "dfl": (_bins_loss(sides[at].flatten(0, 1), aims.flatten(0, 1)) * shares.flatten()).sum() / total,
        }
        gains = {"box": self.box, "class": self.classes, "dfl": self.dfl}
        parts = {name: value * gains[name] for name, value in parts.items()}
        if taught is not None:
            parts["distillation"] = self.distillation * _distance(
                layout, (sides, classes, boxes), points, taught, gains
            )
        loss = torch.stack(list(parts.values())).sum() * len(classes)
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


def _sides(boxes_xyxy: Tensor, points: Tensor, bins: int) -> Tensor:
    """Left, top, right, bottom `[*, 4]` of boxes from points, in cells, within the bins."""
    apart = torch.cat((points - boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - points), dim=-1)
    return apart.clamp(0, bins - 1 - LAST)


def _bins_loss(logits: Tensor, sides: Tensor) -> Tensor:
    """The cross-entropy `[M]` of logits `[M, 4, bins]` to the two bins beside each side `[M, 4]`, mean over sides."""
    left = sides.floor().long()
    share = left + 1 - sides
    flat = logits.flatten(0, 1)
    low, high = (cross_entropy(flat, place.flatten(), reduction="none").view_as(sides) for place in (left, left + 1))
    return (low * share + high * (1 - share)).mean(dim=1)


def _distance(
    layout: PointLayout,
    own: tuple[Tensor, Tensor, Tensor],
    points: Tensor,
    taught: HeadMaps,
    gains: dict[str, float],
) -> Tensor:
    """How far maps (sides, classes, boxes) are from a teacher's (scalar)."""
    sides, classes, boxes = own
    their_sides, their_classes = layout.flat(taught.maps)
    scores = their_classes.sigmoid()
    weight = scores.amax(dim=-1)
    total = summed(weight.sum()).clamp(min=1) / world_size()
    miss = 1 - complete_iou(boxes, layout.boxes(their_sides, points))
    bins = cross_entropy(sides.flatten(0, 2), their_sides.softmax(dim=-1).flatten(0, 2), reduction="none")
    parts = {
        "box": (miss * weight).sum(),
        "class": bce(classes, scores, reduction="sum"),
        "dfl": (bins.view(sides.shape[:3]).mean(dim=-1) * weight).sum(),
    }
    return sum(gains[name] * value for name, value in parts.items()) / total
