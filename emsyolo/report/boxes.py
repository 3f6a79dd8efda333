"""Boxes on images: one annotated image, and a sheet of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from torch import Tensor

from emsyolo.report.style import INK, color_of, ink_on, new_figure, save
from emsyolo.types import Detections, Targets

MIN_SIDE = 512  # px; smaller images are enlarged so that the text can be read
PAD = 0.15  # around the text of a label, in font sizes
TILE_IN = 3.2  # width of an image on a sheet, inches
TRUTH: dict[str, Any] = {"edgecolor": "white", "linestyle": (0, (4, 3)), "linewidth": 1.0}
OUTLINE = [patheffects.withStroke(linewidth=1.9, foreground="black", alpha=0.8)]  # shows white on a bright ground


def draw_boxes(
    image: Tensor, detections: Detections, class_names: Sequence[str], score_threshold: float = 0.0
) -> Tensor:
    """The image with a box, label and score for each detection.

    An image whose longer side is below 512 px is enlarged by the whole factor that brings it there; any other keeps its
    size and its pixels.

    Args:
        image: `[3, H, W]` uint8.
        detections: boxes in px of the image.
        class_names: the labels' names, in order.
        score_threshold: detections with a lower score are left out.

    Returns:
        `[3, H', W']` uint8.

    Raises:
        ValueError: the image is of another shape or type.
    """
    height, width = _checked(image).shape[1:]
    factor = max(1, -(-MIN_SIDE // max(height, width)))
    size_hw = (height * factor, width * factor)
    dpi = 100
    figure = Figure(figsize=(size_hw[1] / dpi, size_hw[0] / dpi), dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    _show(axes, image)
    scale = max(size_hw) / 1000  # text and lines grow with large photographs
    _add_detections(
        axes,
        detections,
        class_names,
        score_threshold,
        canvas=canvas,
        fontsize=max(9.0, 11 * scale),
        linewidth=max(1.6, 2 * scale),
    )
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[: size_hw[0], : size_hw[1], :3]
    return torch.from_numpy(drawn.transpose(2, 0, 1).copy())


def contact_sheet(
    path: str | Path,
    images: Sequence[Tensor],
    detections: Sequence[Detections],
    truths: Sequence[Targets],
    class_names: Sequence[str],
    score_threshold: float = 0.3,
    columns: int = 4,
    titles: Sequence[str] = (),
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

    Raises:
        ValueError: no image, unequal numbers, columns < 1, another number of titles than of columns, or an image of
            another shape or type.
    """
    if not images or not len(images) == len(detections) == len(truths):
        raise ValueError(
            f"{len(images)} images, {len(detections)} detections and {len(truths)} truths; "
            "expected the same number of each, at least one"
        )
    if columns < 1:
        raise ValueError(f"columns is {columns}; expected at least one image per row")
    columns = min(columns, len(images))
    if titles and len(titles) != columns:
        raise ValueError(f"titles are {list(titles)}; expected one for each of {columns} columns")
    rows = -(-len(images) // columns)
    tallness = [min(_checked(image).shape[1] / image.shape[2], 2.0) for image in images]
    heights = [TILE_IN * max(tallness[row * columns : (row + 1) * columns]) for row in range(rows)]
    figure = new_figure(TILE_IN * columns, sum(heights) + (0.75 if titles else 0.45))
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    for axes, image in zip(grid.flat, images, strict=False):
        _show(axes, image)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=11, color=INK)
    _add_legend(figure, score_threshold)
    # The places of the labels depend on the layout, which must not move afterwards.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    for axes, found, truth in zip(grid.flat, detections, truths, strict=False):
        _add_truth(axes, truth)
        _add_detections(axes, found, class_names, score_threshold, canvas=canvas, fontsize=7.5, linewidth=2.6)
    return save(figure, path)


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"image is {tuple(image.shape)} of {image.dtype}; expected [3, H, W] of torch.uint8")
    return image


def _show(axes: Axes, image: Tensor) -> None:
    axes.imshow(
        image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest", extent=(0, image.shape[2], image.shape[1], 0)
    )
    axes.set_anchor("N")
    axes.set_axis_off()


def _add_legend(figure: Figure, score_threshold: float) -> None:
    handles = [
        Line2D([], [], color=color_of(0), linewidth=2, label=f"found (score ≥ {score_threshold:g}; colour = class)"),
        Line2D([], [], color=INK, linewidth=1.4, linestyle=TRUTH["linestyle"], label="truth"),
        Line2D([], [], color=INK, linewidth=1.4, linestyle=":", label="truth, not counted (crowd, difficult)"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=INK)


def _rectangle(box_xyxy: Sequence[float], **look: Any) -> Rectangle:
    x0, y0, x1, y1 = box_xyxy
    return Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **look)


def _add_truth(axes: Axes, truth: Targets) -> None:
    for box, ignore in zip(truth.boxes_xyxy.tolist(), truth.ignore.tolist(), strict=True):
        look = {**TRUTH, "linestyle": ":"} if ignore else TRUTH
        axes.add_patch(_rectangle(box, **look, path_effects=OUTLINE, zorder=4))


def _add_detections(
    axes: Axes,
    detections: Detections,
    class_names: Sequence[str],
    score_threshold: float,
    *,
    canvas: FigureCanvasAgg,
    fontsize: float,
    linewidth: float,
) -> None:
    boxes, scores, labels = (x.tolist() for x in (detections.boxes_xyxy, detections.scores, detections.labels))
    shown = [(b, s, k) for b, s, k in zip(boxes, scores, labels, strict=True) if s >= score_threshold]
    for box, _, label in shown:
        edge = [patheffects.withStroke(linewidth=linewidth + 1.2, foreground="black", alpha=0.45)]
        axes.add_patch(_rectangle(box, edgecolor=color_of(label), linewidth=linewidth, path_effects=edge, zorder=3))
    taken: list[Bbox] = []
    for box, score, label in shown:
        text = axes.text(
            0,
            0,
            f"{class_names[label]} {score:.2f}",
            fontsize=fontsize,
            color=ink_on(color_of(label)),
            verticalalignment="bottom",
            parse_math=False,  # a name may have a dollar in it
            zorder=5,
            bbox={"boxstyle": f"square,pad={PAD}", "facecolor": color_of(label), "edgecolor": "none", "alpha": 0.92},
        )
        taken.append(_place(axes, text, canvas, box, taken))


def _place(axes: Axes, text: Text, canvas: FigureCanvasAgg, box_xyxy: Sequence[float], taken: Sequence[Bbox]) -> Bbox:
    """Move a label to the place at its box where it covers least of other labels; of equals the first.

    Tried, inside the image, are: above, below, inside at the top, inside at the bottom, one line further above or
    below, and the same flush right. Returns the place, in px of the canvas.
    """
    letters = text.get_window_extent(canvas.get_renderer())
    pad = PAD * float(text.get_fontsize()) * axes.figure.dpi / 72
    size = letters.padded(pad)
    x0, y0, x1, y1 = box_xyxy
    (left, top), (right, bottom) = axes.transData.transform([(x0, y0), (x1, y1)])
    height = size.height
    heights = [top, bottom - height, top - height, bottom, top + height, bottom - 2 * height]
    frame = axes.bbox
    places = []
    for x in (left, right - size.width):
        for y in heights:
            x_in = min(max(x, frame.x0), max(frame.x1 - size.width, frame.x0))
            y_in = min(max(y, frame.y0), max(frame.y1 - height, frame.y0))
            places.append(Bbox.from_bounds(x_in, y_in, size.width, height))
    best = min(places, key=lambda place: sum(_shared_area(place, other) for other in taken))
    x_text, y_text = axes.transData.inverted().transform((best.x0 + pad, best.y0 + pad))
    text.set_position((x_text, y_text))
    return best


def _shared_area(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return shared.width * shared.height if shared else 0.0
