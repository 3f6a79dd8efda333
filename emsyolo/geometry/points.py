"""Anchor-free maps: a point in every cell, and a distribution over bins for each side of its box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from emsyolo.geometry.anchors import cell_grid
from emsyolo.types import Candidates, Layout


@dataclass(frozen=True)
class PointLayout:
    """Maps of an anchor-free head: per level `[N, 4*bins + K, H, W]`: left, top, right, bottom, classes, all as logits.

    A side lies at the expected bin of its distribution (softmax over the bins), in cells from the point in the middle
    of the cell. Li et al., NeurIPS 2020 (generalized focal loss), in the form of YOLOv8.

    Attributes:
        strides: px of the input per cell, per level.
        num_classes: K.
        bins: of each side.
    """

    strides: tuple[int, ...]
    num_classes: int
    bins: int = 16

    def flat(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Sides `[N, P, 4, bins]` and classes `[N, P, K]`, logits; places by level, row, column; float32 or better."""
        joined = torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)
        exact = joined.to(torch.promote_types(joined.dtype, torch.float32))
        sides, classes = exact.split((4 * self.bins, self.num_classes), dim=2)
        return sides.unflatten(2, (4, self.bins)), classes

    def points(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The points `[P, 2]`, x and y in cells, and the strides `[P, 1]`, px."""
        grids = [cell_grid(level.shape[2], level.shape[3], like=level).flatten(0, 1) + 0.5 for level in maps]
        strides = [grid.new_full((len(grid), 1), stride) for grid, stride in zip(grids, self.strides, strict=True)]
        dtype = torch.promote_types(maps[0].dtype, torch.float32)
        return torch.cat(grids).to(dtype), torch.cat(strides).to(dtype)

    def boxes(self, sides: Tensor, points: Tensor) -> Tensor:
        """Boxes `[N, P, 4]` xyxy in cells, of logits `[N, P, 4, bins]` and points `[P, 2]`."""
        expected = sides.softmax(dim=-1) @ torch.arange(self.bins, dtype=sides.dtype, device=sides.device)
        return torch.cat((points - expected[..., :2], points + expected[..., 2:]), dim=-1)

    def candidates(self, maps: Sequence[Tensor]) -> Candidates:
        """Boxes, and as scores the classes after the sigmoid; by level, row, column."""
        sides, classes = self.flat(maps)
        points, strides = self.points(maps)
        return Candidates(self.boxes(sides, points) * strides, classes.sigmoid())

    def class_rows(self) -> Tensor:
        """The channel of each class, `[K, 1]` int64."""
        return 4 * self.bins + torch.arange(self.num_classes)[:, None]

    def with_classes(self, num_classes: int) -> PointLayout:
        """The layout of the same head for another number of classes."""
        return replace(self, num_classes=num_classes)

    def differs(self, other: Layout) -> str:
        """In what the other's maps mean something else."""
        if not isinstance(other, PointLayout):
            return f"{type(other).__name__} in place of points"
        if (self.strides, self.bins) != (other.strides, other.bins):
            return f"the strides {list(other.strides)} and {other.bins} bins"
        return ""

    def about(self) -> dict[str, Any]:
        """Strides, and the number of bins."""
        return {"strides": list(self.strides), "bins": self.bins}
