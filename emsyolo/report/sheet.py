"""Sheets of many images: what was found on them, or what a network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from emsyolo.report.boxes import TRUTH, add_detections, add_labelled, add_truth, checked, show
from emsyolo.report.style import INK, MUTED, color_of, new_figure, save
from emsyolo.types import Detections, Targets

TILE_IN = 3.2  # width of an image on a sheet, inches
NAME_IN = 0.2  # height of a name below it
NAME_LENGTH = 44  # characters of it
TEXT_PT, LINE_PT = 7.5, 2.6


def contact_sheet(
    path: str | Path,
    images: Sequence[Tensor],
    detections: Sequence[Detections],
    truths: Sequence[Targets],
    class_names: Sequence[str],
    score_threshold: float = 0.3,
    columns: int = 4,
    titles: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Path:
    """A PNG of images with what was found (solid, label and score) and what is there (dashed).

    Args:
        path: of the picture.
        images: each `[3, H, W]` uint8.
        detections: boxes in px of the images, one `Detections` for each.
        truths: true boxes in px of the images, one `Targets` for each; ignored ones are dotted.
        class_names: the labels' names, in order.
        score_threshold: detections with a lower score are left out.
        columns: images per row, at most.
        titles: of the columns; none: no titles.
        names: what stands below each image; none: nothing.

    Raises:
        ValueError: no image, unequal numbers, columns < 1, another number of titles than of columns, or an image of
            another shape or type.
    """
    if not images or not len(images) == len(detections) == len(truths):
        raise ValueError(
            f"{len(images)} images, {len(detections)} detections and {len(truths)} truths; "
            "expected the same number of each, at least one"
        )
    figure, tiles, canvas = _laid_out(images, columns, titles, names, _legend_of_found(score_threshold))
    for axes, found, truth in zip(tiles, detections, truths, strict=True):
        add_truth(axes, truth)
        add_detections(axes, found, class_names, score_threshold, canvas=canvas, fontsize=TEXT_PT, linewidth=LINE_PT)
    return save(figure, path)


def truth_sheet(
    path: str | Path,
    images: Sequence[Tensor],
    truths: Sequence[Targets],
    class_names: Sequence[str],
    columns: int = 4,
    names: Sequence[str] = (),
) -> Path:
    """A PNG of images with their true boxes and the names of their classes.

    Args:
        path: of the picture.
        images: each `[3, H, W]` uint8.
        truths: true boxes in px of the images, one `Targets` for each; ignored ones are dotted.
        class_names: the labels' names, in order.
        columns: images per row, at most.
        names: what stands below each image; none: nothing.

    Raises:
        ValueError: as `contact_sheet`.
    """
    if not images or len(images) != len(truths):
        raise ValueError(f"{len(images)} images and {len(truths)} truths; expected the same number, at least one")
    figure, tiles, canvas = _laid_out(images, columns, (), names, _legend_of_truth())
    for axes, truth in zip(tiles, truths, strict=True):
        counted = truth.select(~truth.ignore)
        add_truth(axes, truth.select(truth.ignore))
        shown = [
            (box, label, class_names[label])
            for box, label in zip(counted.boxes_xyxy.tolist(), counted.labels.tolist(), strict=True)
        ]
        add_labelled(axes, shown, canvas=canvas, fontsize=TEXT_PT, linewidth=LINE_PT)
    return save(figure, path)


def _laid_out(
    images: Sequence[Tensor], columns: int, titles: Sequence[str], names: Sequence[str], legend: Sequence[Line2D]
) -> tuple[Figure, list[Axes], FigureCanvasAgg]:
    """The figure with its images, whose layout does not move any more: the places of labels depend on it."""
    if columns < 1:
        raise ValueError(f"columns is {columns}; expected at least one image per row")
    columns = min(columns, len(images))
    if titles and len(titles) != columns:
        raise ValueError(f"titles are {list(titles)}; expected one for each of {columns} columns")
    if names and len(names) != len(images):
        raise ValueError(f"names has {len(names)} entries; expected one for each of {len(images)} images")
    rows = -(-len(images) // columns)
    tallness = [min(checked(image).shape[1] / image.shape[2], 2.0) for image in images]
    heights = [TILE_IN * max(tallness[row * columns : (row + 1) * columns]) for row in range(rows)]
    above = 0.75 if titles else 0.45
    figure = new_figure(TILE_IN * columns, sum(heights) + above + (NAME_IN * rows if names else 0))
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    tiles = list(grid.flat[: len(images)])
    for axes, image in zip(tiles, images, strict=True):
        show(axes, image)
    for axes, name in zip(tiles, names, strict=False):
        below = {"transform": axes.transAxes, "va": "top", "fontsize": 7.5, "color": MUTED}
        axes.text(0, -0.015, shortened(name), parse_math=False, **below)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=11, color=INK)
    figure.legend(handles=legend, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    return figure, tiles, canvas


def shortened(name: str) -> str:
    """A name that fits below an image: what is left out of its middle is a dot or three."""
    if len(name) <= NAME_LENGTH:
        return name
    half = (NAME_LENGTH - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _legend_of_found(score_threshold: float) -> list[Line2D]:
    return [
        Line2D([], [], color=color_of(0), linewidth=2, label=f"found (score ≥ {score_threshold:g}; colour = class)"),
        Line2D([], [], color=INK, linewidth=1.4, linestyle=TRUTH["linestyle"], label="truth"),
        Line2D([], [], color=INK, linewidth=1.4, linestyle=":", label="truth, not counted (crowd, difficult)"),
    ]


def _legend_of_truth() -> list[Line2D]:
    return [
        Line2D([], [], color=color_of(0), linewidth=2, label="truth (colour = class)"),
        Line2D([], [], color=INK, linewidth=1.4, linestyle=":", label="not trained on (crowd, difficult)"),
    ]
