"""Which anchors of which cells answer for which true box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emsyolo.device import sent
from emsyolo.types import Targets


@dataclass(frozen=True)
class Matches:
    """Pairs of a true box and a place in one level's map, as many as there might be, so that nobody waits for a count.

    Attributes:
        image, anchor, row, column: `[P]` int64, the place; of pairs that do not match, any inside the map.
        boxes_xywh: `[P, 4]` the true box, centre and size, px.
        labels: `[P]` int64.
        valid: `[P]` bool: whether they match.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes_xywh: Tensor
    labels: Tensor
    valid: Tensor


def flatten_targets(targets: Sequence[Targets], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All boxes of a batch that are trained on, in one transfer to the device of `like` and, of boxes, in its dtype.

    Returns:
        Image index `[M]`, boxes xywh in px `[M, 4]`, labels `[M]`.
    """
    kept = [t.select(~t.ignore) for t in targets]
    image = torch.cat([torch.full((len(t),), i) for i, t in enumerate(kept)])
    xyxy = torch.cat([t.boxes_xyxy for t in kept])
    xywh = torch.cat(((xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]), dim=1)
    rows = torch.cat((image[:, None], xywh, torch.cat([t.labels for t in kept])[:, None]), dim=1)
    rows = sent(rows, like.device)
    return rows[:, 0].long(), rows[:, 1:5].to(like.dtype), rows[:, 5].long()


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
    """The matches of one level, in the form of YOLOv5, among all pairs of a box, an anchor and one of three cells.

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
    fits = torch.maximum(ratios, 1 / ratios).amax(dim=2) < ratio  # [M, A]

    height, width = size_hw
    centre = boxes_xywh[:, :2] / stride
    cell = centre.floor()
    inside = centre - cell
    step = torch.where(inside < 0.5, -1, 1)
    x, y = cell.long().unbind(dim=1)
    columns = torch.stack((x, x + step[:, 0], x))  # [3, M]
    rows = torch.stack((y, y, y + step[:, 1]))
    # Exactly on a middle line no neighbour is nearer, and YOLOv5 takes none.
    off_middle = (inside != 0.5) & neighbours
    wanted = torch.stack((torch.ones_like(off_middle[:, 0]), off_middle[:, 0], off_middle[:, 1]))
    wanted &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)

    pairs = (len(wanted), *fits.shape)  # [3, M, A]
    number = torch.arange(len(anchors), device=image.device)

    def listed(x: Tensor) -> Tensor:
        return x.expand(pairs).flatten()

    return Matches(
        listed(image[:, None]),
        listed(number),
        listed(rows.clamp(0, height - 1)[:, :, None]),
        listed(columns.clamp(0, width - 1)[:, :, None]),
        boxes_xywh[:, None].expand(*pairs, 4).flatten(0, 2),
        listed(labels[:, None]),
        listed(wanted[:, :, None]) & listed(fits),
    )
