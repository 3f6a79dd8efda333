"""Which anchors of which cells answer for which true box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emsyolo.types import Targets


@dataclass(frozen=True)
class Matches:
    """Pairs of a true box and a place in one level's map.

    Attributes:
        image, anchor, row, column: `[P]` int64, the place.
        boxes_xywh: `[P, 4]` the true box, centre and size, px.
        labels: `[P]` int64.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes_xywh: Tensor
    labels: Tensor


def flatten_targets(targets: Sequence[Targets], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """All boxes of a batch that are trained on: image index `[M]`, xywh in px `[M, 4]`, labels `[M]`."""
    kept = [t.select(~t.ignore) for t in targets]
    image = torch.cat([torch.full((len(t),), i, dtype=torch.int64) for i, t in enumerate(kept)])
    xyxy = torch.cat([t.boxes_xyxy for t in kept])
    xywh = torch.cat(((xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]), dim=1)
    return image.to(device), xywh.to(device), torch.cat([t.labels for t in kept]).to(device)


def assign(
    image: Tensor,
    boxes_xywh: Tensor,
    labels: Tensor,
    *,
    anchors: Tensor,
    stride: int,
    size_hw: tuple[int, int],
    ratio: float,
    neighbours: bool = True,
) -> Matches:
    """The matches of one level, in the form of YOLOv5.

    A box matches an anchor when max(w/aw, aw/w, h/ah, ah/h) < `ratio`, in the cell of its centre and in the two nearest
    neighbours (across the nearer vertical and the nearer horizontal edge), as far as these are inside the map.

    Args:
        image: `[M]` image index of each box.
        boxes_xywh: `[M, 4]` px.
        labels: `[M]`.
        anchors: `[A, 2]` px.
        stride: px per cell.
        size_hw: rows and columns of the map.
        ratio: the largest ratio of sides, excluded.
        neighbours: match in the two nearest neighbours as well as in the cell of the centre.
    """
    ratios = boxes_xywh[:, None, 2:] / anchors[None].to(boxes_xywh)
    fits = torch.maximum(ratios, 1 / ratios).amax(dim=2) < ratio
    box, anchor = fits.nonzero(as_tuple=True)

    height, width = size_hw
    centre = boxes_xywh[box, :2] / stride
    cell = centre.floor()
    inside = centre - cell
    left, up = (inside < 0.5).unbind(dim=1)
    zero = torch.zeros_like(box)
    near_x = torch.stack((torch.where(left, -1, 1), zero), dim=1)
    near_y = torch.stack((zero, torch.where(up, -1, 1)), dim=1)
    places = torch.stack([cell.long(), cell.long() + near_x, cell.long() + near_y])  # [3, P, 2], x before y
    limits = torch.tensor([width, height], device=places.device)
    valid = ((places >= 0) & (places < limits)).all(dim=2)
    # Exactly on a middle line no neighbour is nearer, and YOLOv5 takes none.
    valid[1] &= inside[:, 0] != 0.5
    valid[2] &= inside[:, 1] != 0.5
    valid[1:] &= neighbours
    which, pair = valid.nonzero(as_tuple=True)
    column, row = places[which, pair].unbind(dim=1)
    box, anchor = box[pair], anchor[pair]
    return Matches(image[box], anchor, row, column, boxes_xywh[box], labels[box])
