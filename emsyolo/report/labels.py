"""What a data set's boxes are like: how many of which class, how large, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from emsyolo.report.style import INK, MUTED, PALETTE, color_of, new_figure, plain_axes, save

BINS = 40
DENSITY = LinearSegmentedColormap.from_list("density", ["#E6EDF4", PALETTE[0], "#0B2545"])
NAMED = 30  # classes
AREAS_PX = {32: "small", 96: "medium"}  # the sides at which COCO's sizes end


def label_picture(
    path: str | Path,
    class_names: Sequence[str],
    labels: NDArray[np.int64],
    places_xyxy: NDArray[np.float64],
    sides_px: NDArray[np.float64],
    per_image: NDArray[np.int64],
) -> Path:
    """A PNG of the boxes of a training set: classes, sizes, places, shapes and how many there are in an image.

    Args:
        path: of the picture.
        class_names: the labels' names, in order.
        labels: `[M]`.
        places_xyxy: `[M, 4]` in shares of the image, 0..1.
        sides_px: `[M]`, the square roots of the boxes' areas in px of the network's input.
        per_image: `[N]`, boxes of every image.

    Raises:
        ValueError: no box.
    """
    if not len(labels):
        raise ValueError("there are no boxes to draw; expected at least one")
    figure = new_figure(13, 7.6)
    panels = figure.subplot_mosaic("aabc;aade", width_ratios=(1, 1, 1.25, 1.25))
    figure.suptitle(
        f"{len(labels):,} boxes of {len(class_names)} classes in {len(per_image):,} images, "
        f"{int((per_image == 0).sum()):,} of them without a box",
        fontsize=12, color=INK, x=0.01, ha="left", fontweight="bold",
    )  # fmt: skip
    _classes(panels["a"], class_names, labels)
    sizes = places_xyxy[:, 2:] - places_xyxy[:, :2]
    centres = (places_xyxy[:, 2:] + places_xyxy[:, :2]) / 2
    _density(panels["b"], centres, "Where they are", "of the width", "of the height")
    panels["b"].invert_yaxis()  # as in the image
    _density(panels["c"], sizes, "How large they are", "width, of the image's", "height, of the image's")
    _sides(panels["d"], sides_px)
    _per_image(panels["e"], per_image)
    return save(figure, path)


def _classes(axes: Axes, names: Sequence[str], labels: NDArray[np.int64]) -> None:
    counts = np.bincount(labels, minlength=len(names))
    if len(names) <= NAMED:
        plain_axes(axes, "Boxes by class", "boxes", "")
        bars = axes.barh(range(len(names)), counts, color=[color_of(i) for i in range(len(names))], height=0.72)
        axes.bar_label(bars, labels=[f"{n:,}" for n in counts], padding=3, fontsize=8, color=INK)
        axes.set_yticks(range(len(names)), names, fontsize=9 if len(names) <= 20 else 8)
        axes.set_ylim(len(names) - 0.4, -0.6)
    else:  # in the order of their numbers of boxes, on a scale on which rare ones show
        order = np.argsort(-counts, kind="stable")
        plain_axes(axes, "Boxes by class, the most first", "boxes", "")
        axes.barh(range(len(names)), np.maximum(counts[order], 0.5), color=PALETTE[0], height=0.8)
        axes.set_xscale("log")
        axes.set_xlim(left=0.7)
        size = max(3.0, min(8.0, 400 / len(names)))
        axes.set_yticks(range(len(names)), [names[i] for i in order], fontsize=size)
        axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")


def _density(axes: Axes, points: NDArray[np.float64], title: str, xlabel: str, ylabel: str) -> None:
    plain_axes(axes, title, xlabel, ylabel)
    grid, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=BINS, range=((0, 1), (0, 1)))
    shown = np.ma.masked_equal(grid, 0)
    axes.imshow(shown, extent=(0, 1, 0, 1), origin="lower", cmap=DENSITY, aspect="auto",
                norm=LogNorm(1, max(2.0, grid.max())), interpolation="nearest", zorder=2)  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _sides(axes: Axes, sides_px: NDArray[np.float64]) -> None:
    plain_axes(axes, "Their size at the network's input", "square root of the area, px", "boxes")
    low, high = max(1.0, float(sides_px.min()) * 0.9), float(sides_px.max()) * 1.1
    axes.hist(sides_px, bins=np.geomspace(low, max(high, 2 * low), 41).tolist(), color=PALETTE[0])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    for side, name in AREAS_PX.items():
        if low < side < high:
            axes.axvline(side, color=MUTED, linestyle="--", linewidth=1)
            axes.text(side, 0.99, f"{name} ", ha="right", va="top", fontsize=8, color=MUTED,
                      transform=axes.get_xaxis_transform())  # fmt: skip


def _per_image(axes: Axes, per_image: NDArray[np.int64]) -> None:
    plain_axes(axes, "Boxes in an image", "boxes", "images")
    most = int(per_image.max())
    width = max(1, -(-(most + 1) // BINS))
    axes.hist(per_image, bins=np.arange(-0.5, most + width + 0.5, width).tolist(), color=PALETTE[0], rwidth=0.9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
