"""Which class was found where which was true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from emsyolo.report.style import GRID, INK, MUTED, PALETTE, new_figure, plain_axes, save

BACKGROUND = "background"
RIGHT = LinearSegmentedColormap.from_list("right", ["white", PALETTE[0]])
WRONG = LinearSegmentedColormap.from_list("wrong", ["white", PALETTE[1]])
FEW, SOME = 12, 40  # classes: up to which cells have their counts, and a sign of per cent


def confusion_matrix(
    path: str | Path, matrix: NDArray[np.int64], class_names: Sequence[str], score_threshold: float | None
) -> Path:
    """A PNG of a confusion matrix: of every true class, the shares that were found as which class, and missed.

    The last row has what was found where nothing is, as shares of all such boxes. What is right is blue, what is wrong
    is red.

    Args:
        path: of the picture.
        matrix: `[K+1, K+1]` counts, true by found, the background last.
        class_names: K of them.
        score_threshold: below which boxes were left out; None: none were found.

    Raises:
        ValueError: a matrix of another size.
    """
    names = [*class_names, BACKGROUND]
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"matrix is {matrix.shape}; expected {len(names)} rows and columns")
    count = len(class_names)
    cell_in = 0.62 if count <= FEW else 0.32 if count <= SOME else 0.225
    side = max(3.2, cell_in * len(names))
    long = max(map(len, names)) * 0.075  # of the names beside it
    figure = new_figure(side + long + 1.1, side + long + 1.1)
    axes = figure.subplots()
    at = "" if score_threshold is None else f", score ≥ {score_threshold:.3f}"
    plain_axes(axes, f"Confusion at IoU 0.5{at}: per cent of each row", "found", "true")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(names), dtype=bool)
    axes.imshow(np.where(right[..., None], RIGHT(shares), WRONG(shares)), aspect="equal")
    _write_cells(axes, shares, matrix, count)
    size = 10 if count <= FEW else 8 if count <= SOME else 7
    axes.set_xticks(range(len(names)), names, rotation=90 if count > 2 else 0, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.grid(visible=False)
    ends = np.arange(len(names) + 1) - 0.5
    axes.hlines(ends, ends[0], ends[-1], color=GRID, linewidth=0.6)
    axes.vlines(ends, ends[0], ends[-1], color=GRID, linewidth=0.6)
    for place in (axes.axhline, axes.axvline):
        place(count - 0.5, color=MUTED, linewidth=1.2)
    return save(figure, path)


def _write_cells(axes: Axes, shares: NDArray[np.float64], matrix: NDArray[np.int64], count: int) -> None:
    """Per cent in every cell that has some; of few classes with counts below."""
    for (i, j), share in np.ndenumerate(shares):
        if not matrix[i, j] or (count > FEW and share < 0.005):
            continue
        ink = "white" if share > 0.6 and i == j else INK
        if count <= FEW:
            per_cent = "<1%" if share < 0.005 else f"{share:.0%}"
            axes.text(j, i - 0.08, per_cent, ha="center", va="center", fontsize=10, color=ink)
            axes.text(j, i + 0.26, f"{matrix[i, j]}", ha="center", va="center", fontsize=7, color=ink, alpha=0.8)
        else:
            size = 7 if count <= SOME else 5.5
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=size, color=ink)
