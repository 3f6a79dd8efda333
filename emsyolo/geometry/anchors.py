"""Anchors: the grid they sit on, what maps with anchors mean, and how anchors are chosen from data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_convert

from emsyolo.types import Candidates, Layout

# (raw map [N, A, H, W, 5+K], stride in px, anchors [A, 2] in px) -> boxes [N, A, H, W, 4], xywh in px of the input.
BoxDecoding = Callable[[Tensor, int, Tensor], Tensor]
BOX_ROWS = 5  # of an anchor's channels, before the classes: x, y, w, h, objectness


def cell_grid(height: int, width: int, *, like: Tensor) -> Tensor:
    """The x and y index of every cell, `[H, W, 2]`, of `like`'s dtype and device."""
    rows = torch.arange(height, dtype=like.dtype, device=like.device)
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1)


def decode_yolov5(raw: Tensor, stride: int, anchors: Tensor) -> Tensor:
    """Boxes of one level in the form of YOLOv5, which EMS-YOLO uses.

        xy = (2 sigmoid(t_xy) - 0.5 + cell) * stride,    wh = (2 sigmoid(t_wh))^2 * anchor

    Args:
        raw: `[N, A, H, W, >=4]`, the raw map of one level.
        stride: px of the input per cell.
        anchors: `[A, 2]`, width and height in px.

    Returns:
        `[N, A, H, W, 4]` xywh (centre and size) in px of the input, not clipped.
    """
    grid = cell_grid(raw.shape[2], raw.shape[3], like=raw)
    xy = (2 * raw[..., 0:2].sigmoid() - 0.5 + grid) * stride
    wh = (2 * raw[..., 2:4].sigmoid()).square() * anchors.to(raw)[None, :, None, None]
    return torch.cat((xy, wh), dim=-1)


def decode_darknet(raw: Tensor, stride: int, anchors: Tensor) -> Tensor:
    """Boxes of one level in darknet's form; see `decode_yolov5` for arguments and result.

        xy = (sigmoid(t_xy) + cell) * stride,    wh = exp(t_wh) * anchor

    Redmon and Farhadi, YOLOv3, 2018, section 2.1.
    """
    grid = cell_grid(raw.shape[2], raw.shape[3], like=raw)
    xy = (raw[..., 0:2].sigmoid() + grid) * stride
    wh = raw[..., 2:4].exp() * anchors.to(raw)[None, :, None, None]
    return torch.cat((xy, wh), dim=-1)


@dataclass(frozen=True, eq=False)
class AnchorLayout:
    """Maps of a head with anchors: per level `[N, A, H, W, 5+K]`: x, y, w, h, objectness, classes.

    Attributes:
        strides: px of the input per cell, per level.
        anchors: per level `[A, 2]`, width and height in px.
        num_classes: K.
        decoding: turns one raw map into boxes: YOLOv5's or darknet's form.
    """

    strides: tuple[int, ...]
    anchors: tuple[Tensor, ...]
    num_classes: int
    decoding: BoxDecoding = decode_yolov5

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """All boxes, `[N, P, 5+K]`: xywh in px, objectness and classes in [0, 1]; float32 or better.

        They are ordered by level, anchor, row, column.
        """
        levels = []
        for raw, stride, anchors in zip(maps, self.strides, self.anchors, strict=True):
            exact = raw.to(torch.promote_types(raw.dtype, torch.float32))
            boxes = self.decoding(exact, stride, anchors)
            levels.append(torch.cat((boxes, exact[..., 4:].sigmoid()), dim=-1).flatten(1, 3))
        return torch.cat(levels, dim=1)

    def candidates(self, maps: Sequence[Tensor]) -> Candidates:
        """Boxes, and as scores objectness times class; ordered as by `decode`."""
        decoded = self.decode(maps)
        return Candidates(box_convert(decoded[..., :4], "cxcywh", "xyxy"), decoded[..., 5:] * decoded[..., 4:5])

    def class_rows(self) -> Tensor:
        """The channels of each class, one per anchor, `[K, A]` int64."""
        rows = torch.arange(len(self.anchors[0]) * (BOX_ROWS + self.num_classes))
        return rows.view(-1, BOX_ROWS + self.num_classes)[:, BOX_ROWS:].T

    def with_classes(self, num_classes: int) -> AnchorLayout:
        """The layout of the same anchors for another number of classes."""
        return replace(self, num_classes=num_classes)

    def differs(self, other: Layout) -> str:
        """In what the other's maps mean something else."""
        if not isinstance(other, AnchorLayout):
            return f"{type(other).__name__} in place of anchors"
        if (self.strides, self.decoding) != (other.strides, other.decoding):
            return f"the strides {list(other.strides)} and {other.decoding.__name__}"
        theirs = [anchor.tolist() for anchor in other.anchors]
        same = [anchor.tolist() for anchor in self.anchors] == theirs
        return "" if same else f"other anchors; type model.anchors={theirs}"

    def about(self) -> dict[str, Any]:
        """Strides, anchors and the form of the boxes."""
        return {
            "strides": list(self.strides),
            "anchors": [anchor.tolist() for anchor in self.anchors],
            "decoding": self.decoding.__name__,
        }


def shape_iou(sizes: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes and anchors that share their centre: `[M, 2]` and `[A, 2]` (px) to `[M, A]`."""
    overlap = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    union = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - overlap
    return overlap / union


def kmeans_anchors(sizes: NDArray[np.float64], count: int, *, seed: int = 0, restarts: int = 8) -> NDArray[np.float64]:
    """Anchors that fit a data set's boxes: k-means under the distance 1 - IoU, smallest area first.

    Redmon and Farhadi, YOLO9000, CVPR 2017, section 2 (dimension clusters). The centre of a cluster is its median,
    which single huge boxes do not pull. The best of `restarts` starts is kept, so the result depends only on `seed`.

    Args:
        sizes: `[M, 2]` width and height of the training boxes at the size the network sees, px, > 0.
        count: number of anchors, over all levels.
        seed: of the starts.
        restarts: number of starts.

    Returns:
        `[count, 2]` width and height in px, sorted by area.

    Raises:
        ValueError: fewer boxes than anchors.
    """
    if len(sizes) < count:
        raise ValueError(
            f"anchors: auto needs at least {count} training boxes, found {len(sizes)}; give anchors instead"
        )
    rng = np.random.default_rng(seed)
    best, best_fit = sizes[:count], -1.0
    for _ in range(restarts):
        anchors = sizes[rng.choice(len(sizes), count, replace=False)].astype(np.float64)
        owner = np.full(len(sizes), -1)
        for _ in range(300):
            nearest = shape_iou(sizes, anchors).argmax(axis=1)
            if (nearest == owner).all():
                break
            owner = nearest
            for k in np.unique(owner):
                anchors[k] = np.median(sizes[owner == k], axis=0)
        fit = float(shape_iou(sizes, anchors).max(axis=1).mean())
        if fit > best_fit:
            best, best_fit = anchors, fit
    return best[np.argsort(best.prod(axis=1))]
