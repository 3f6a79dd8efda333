"""Which points answer for which true box, by how well they do already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emsyolo.device import sent
from emsyolo.geometry.iou import complete_iou
from emsyolo.types import Targets

EPS = 1e-9


@dataclass(frozen=True)
class Assigned:
    """What each point of a batch shall find.

    Attributes:
        boxes_xyxy: `[N, P, 4]`, px; of points that answer for none, any.
        scores: `[N, P, K]` in [0, 1]; 0 where a point answers for no box of the class.
        answers: `[N, P]` bool: whether a point answers for a box.
        places: `[N, S]` int64: the points that might answer, as many as there are boxes times points of each.
        chosen: `[N, S]` bool: which of those do, each point once.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    answers: Tensor
    places: Tensor
    chosen: Tensor


def padded_targets(targets: Sequence[Targets], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes to train on, `[N, M, 4]` xyxy px, their labels `[N, M]`, and which of these are real `[N, M]`.

    One transfer to the device of `like`; the boxes are of its dtype.
    """
    kept = [one.select(~one.ignore) for one in targets]
    rows = torch.zeros(len(kept), max((len(one) for one in kept), default=0), 6, dtype=like.dtype)
    for row, one in zip(rows, kept, strict=True):
        row[: len(one), :4], row[: len(one), 4], row[: len(one), 5] = one.boxes_xyxy, one.labels, 1
    rows = sent(rows, like.device)
    return rows[..., :4], rows[..., 4].long(), rows[..., 5] > 0


@torch.no_grad()
def assign_aligned(
    scores: Tensor,
    boxes_xyxy: Tensor,
    points: Tensor,
    true_boxes: Tensor,
    labels: Tensor,
    real: Tensor,
    *,
    top: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> Assigned:
    """The assignment of task-aligned learning (Feng et al., ICCV 2021), in the form of YOLOv8.

    A point may answer for a box that it lies in. Its alignment is `score^alpha * CIoU^beta`, with the score that it
    gives the box's class. The `top` best of each box answer for it; a point that several boxes claim answers for that
    of the highest CIoU. The score that it shall give is its alignment, scaled so that the best point of a box shall
    give the best CIoU of that box.

    Args:
        scores: `[N, P, K]` in [0, 1], as found.
        boxes_xyxy: `[N, P, 4]` px, as found.
        points: `[P, 2]` x and y, px.
        true_boxes: `[N, M, 4]` xyxy px.
        labels: `[N, M]`.
        real: `[N, M]` bool; false where a row is only filled up.
        top: points per box, at most.
        alpha, beta: exponents.
    """
    (batch, count), most = scores.shape[:2], true_boxes.shape[1]
    if most == 0:
        nothing = torch.zeros_like(scores)
        none = labels[:, :0]
        return Assigned(torch.zeros_like(boxes_xyxy), nothing, nothing[..., 0].bool(), none, none.bool())
    corners = torch.cat((points - true_boxes[:, :, None, :2], true_boxes[:, :, None, 2:] - points), dim=-1)
    inside = (corners.amin(dim=-1) > EPS) & real[:, :, None]  # [N, M, P]
    pairs = (batch, most, count, 4)
    found, wanted = boxes_xyxy[:, None].expand(pairs), true_boxes[:, :, None].expand(pairs)
    # Rows that are only filled up have no CIoU.
    overlaps = torch.where(inside, complete_iou(wanted, found).clamp(min=0), 0)
    own = scores.gather(2, labels[:, None].expand(-1, count, -1)).transpose(1, 2)  # of the box's class, [N, M, P]
    alignment = own.pow(alpha) * overlaps.pow(beta) * inside
    places = alignment.topk(min(top, count), dim=2).indices  # [N, M, top]
    chosen = torch.zeros_like(inside).scatter_(2, places, value=True) & inside
    # A point that several boxes claim is listed by the first of them.
    listed = chosen & (chosen.cumsum(dim=1) == 1)
    listed = listed.gather(2, places)

    claimed = chosen.sum(dim=1, keepdim=True) > 1
    best = torch.zeros_like(chosen).scatter_(1, overlaps.argmax(dim=1, keepdim=True), value=True)
    chosen = torch.where(claimed, best & inside, chosen)
    alignment = alignment * chosen
    reachable = (overlaps * chosen).amax(dim=2, keepdim=True)
    shall = (alignment * reachable / (alignment.amax(dim=2, keepdim=True) + EPS)).amax(dim=1)  # [N, P]
    owner = chosen.to(torch.uint8).argmax(dim=1)
    answers = chosen.any(dim=1)
    goal = true_boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    one_hot = torch.zeros_like(scores).scatter_(2, labels.gather(1, owner)[..., None], 1.0)
    places = places.flatten(1)
    mine = listed.flatten(1) & answers.gather(1, places)
    return Assigned(goal, one_hot * (shall * answers)[..., None], answers, places, mine)
