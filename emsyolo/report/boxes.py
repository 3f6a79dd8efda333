"""Boxes on an image, with labels that keep out of each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from torch import Tensor

from emsyolo.report.style import color_of, ink_on
from emsyolo.types import Detections, Targets

MIN_SIDE = 512  # px; smaller images are enlarged so that the text can be read
PAD = 0.15  # around the text of a label, in font sizes
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
    height, width = checked(image).shape[1:]
    factor = max(1, -(-MIN_SIDE // max(height, width)))
    size_hw = (height * factor, width * factor)
    dpi = 100
    figure = Figure(figsize=(size_hw[1] / dpi, size_hw[0] / dpi), dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    show(axes, image)
    scale = max(size_hw) / 1000  # text and lines grow with large photographs
    add_detections(
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


def checked(image: Tensor) -> Tensor:
    """The image, which must be `[3, H, W]` uint8."""
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"image is {tuple(image.shape)} of {image.dtype}; expected [3, H, W] of torch.uint8")
    return image


def show(axes: Axes, image: Tensor) -> None:
    """Draw an image, px for px."""
    axes.imshow(
        image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest", extent=(0, image.shape[2], image.shape[1], 0)
    )
    axes.set_anchor("N")
    axes.set_axis_off()


def _rectangle(box_xyxy: Sequence[float], **look: Any) -> Rectangle:
    x0, y0, x1, y1 = box_xyxy
    return Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **look)


def add_truth(axes: Axes, truth: Targets) -> None:
    """Draw true boxes dashed, ignored ones dotted."""
    for box, ignore in zip(truth.boxes_xyxy.tolist(), truth.ignore.tolist(), strict=True):
        look = {**TRUTH, "linestyle": ":"} if ignore else TRUTH
        axes.add_patch(_rectangle(box, **look, path_effects=OUTLINE, zorder=4))


def add_detections(
    axes: Axes, detections: Detections, class_names: Sequence[str], score_threshold: float, **look: Any
) -> None:
    """Draw the boxes found, with class and score; `look` as for `add_labelled`."""
    boxes, scores, labels = (x.tolist() for x in (detections.boxes_xyxy, detections.scores, detections.labels))
    shown = [(b, k, f"{class_names[k]} {s:.2f}") for b, s, k in zip(boxes, scores, labels, strict=True)
             if s >= score_threshold]  # fmt: skip
    add_labelled(axes, shown, **look)


def add_labelled(
    axes: Axes,
    shown: Sequence[tuple[Sequence[float], int, str]],
    *,
    canvas: FigureCanvasAgg,
    fontsize: float,
    linewidth: float,
) -> None:
    """Draw boxes in the colours of their classes, their texts at places where they hide little of each other.

    Args:
        axes: of the image.
        shown: box xyxy, label and text of each.
        canvas: of the figure, whose layout does not move any more.
        fontsize: points.
        linewidth: points.
    """
    for box, label, _ in shown:
        edge = [patheffects.withStroke(linewidth=linewidth + 1.2, foreground="black", alpha=0.45)]
        axes.add_patch(_rectangle(box, edgecolor=color_of(label), linewidth=linewidth, path_effects=edge, zorder=3))
    taken: list[Bbox] = []
    for box, label, words in shown:
        text = axes.text(
            0,
            0,
            words,
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
