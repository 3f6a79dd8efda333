"""Precision, recall and F1 over the score below which detections are left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsyolo.report.style import INK, MUTED, PALETTE, PAPER, color_of, new_figure, plain_axes, save

Curve = NDArray[np.float64]


def score_curves(
    path: str | Path,
    thresholds: Curve,
    curves: Mapping[str, Curve],
    f1_by_class: Mapping[str, Curve],
    best: int | None,
) -> Path:
    """A PNG of precision, recall and F1 over the threshold, and of the F1 of every class.

    Up to ten classes are named, more are thin grey lines; a set of one class has no such panel.

    Args:
        path: of the picture.
        thresholds: `[S]` in 0..1.
        curves: `[S]` by name, of all classes together; NaN where there is none. `F1` among them.
        f1_by_class: `[S]` by class name.
        best: place of the best threshold, which is marked; None: there is none.
    """
    several = len(f1_by_class) > 1
    figure = new_figure(10.8 if several else 6.4, 4.2)
    panels = figure.subplots(1, 2 if several else 1, squeeze=False)[0]
    plain_axes(panels[0], "All boxes, by score", "score below which boxes are left out", "")
    for index, (name, curve) in enumerate(curves.items()):
        is_f1 = name == "F1"
        color = INK if is_f1 else PALETTE[index]
        panels[0].plot(thresholds, curve, label=name, color=color, linewidth=2.6 if is_f1 else 1.8)
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    if several:
        plain_axes(panels[1], "F1 of each class", "score below which boxes are left out", "")
        named = len(f1_by_class) <= len(PALETTE)
        for index, (name, curve) in enumerate(f1_by_class.items()):
            color, width = (color_of(index), 1.4) if named else (MUTED, 0.6)
            panels[1].plot(thresholds, curve, color=color, linewidth=width, label=name if named else None)
        panels[1].plot(thresholds, curves["F1"], color=INK, linewidth=2.6, label="together")
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9,
                      labelcolor=INK)  # fmt: skip
    for axes in panels:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        if best is not None:
            axes.axvline(thresholds[best], color=MUTED, linestyle="--", linewidth=1, zorder=1)
    if best is not None:
        x, y = float(thresholds[best]), float(curves["F1"][best])
        panels[0].plot([x], [y], "o", color=INK, markersize=6)
        side = "left" if x < 0.6 else "right"
        panels[0].annotate(
            f"best F1 {y:.3f} at {x:.3f}", (x, y), (8 if side == "left" else -8, 10), textcoords="offset points",
            ha=side, fontsize=9, color=INK, fontweight="bold", bbox=PAPER,
        )  # fmt: skip
    return save(figure, path)
