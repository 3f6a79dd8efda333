"""Curves: precision over recall, and losses and metrics over training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emsyolo.report.history import METRICS, ByEpoch, History, read_history
from emsyolo.report.style import INK, MUTED, PALETTE, PAPER, color_of, new_figure, plain_axes, save

Curve = NDArray[np.float64]

TITLES = {
    "losses": ("Loss", "epoch", "loss"),
    "metrics": ("Validation", "epoch", "mAP"),
    "rates": ("Learning rate", "epoch", ""),
}


def precision_recall_curves(path: str | Path, recall: Curve, per_class: Mapping[str, Curve], mean: Curve) -> Path:
    """A PNG of precision over recall at IoU 0.5, by class and on average.

    Up to ten classes are named, with their average precision; more are thin grey lines. Of one class the area under the
    curve is filled.

    Args:
        path: of the picture.
        recall: `[R]` in 0..1.
        per_class: precision `[R]` in 0..1 by class name.
        mean: precision `[R]` averaged over classes.
    """
    figure = new_figure(7.6, 4.6)
    axes = figure.subplots()
    if len(per_class) == 1:
        ((name, precision),) = per_class.items()
        plain_axes(axes, f"{name}: average precision {np.mean(precision):.3f} at IoU 0.5", "recall", "precision")
        axes.fill_between(recall, precision, color=PALETTE[0], alpha=0.18, linewidth=0)
        axes.plot(recall, precision, color=PALETTE[0], linewidth=2.4)
    else:
        plain_axes(axes, "Precision and recall at IoU 0.5", "recall", "precision")
        _by_class(axes, recall, per_class)
        axes.plot(recall, mean, color=INK, linewidth=2.8, label=f"mean of {len(per_class)}  {np.mean(mean):.3f}")
        figure.legend(loc="outside right center", frameon=False, fontsize=9, title="average precision", labelcolor=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return save(figure, path)


def _by_class(axes: Axes, recall: Curve, per_class: Mapping[str, Curve]) -> None:
    named = len(per_class) <= len(PALETTE)
    for index, (name, precision) in enumerate(per_class.items()):
        look: dict[str, Any] = (
            {"color": color_of(index), "linewidth": 1.4} if named else {"color": MUTED, "linewidth": 0.6, "alpha": 0.6}
        )
        label = f"{name}  {np.mean(precision):.3f}" if named else ("one class each" if index == 0 else None)
        axes.plot(recall, precision, label=label, **look)


def training_curves(path: str | Path, metrics_csv: str | Path, best_by: str = METRICS[0]) -> Path:
    """A PNG of the losses, the metrics and the learning rate by epoch, from the CSV that the trainer logs.

    Args:
        path: of the picture.
        metrics_csv: see `read_history`.
        best_by: the metric whose best epoch is marked.

    Raises:
        ValueError: no such file, or none of these columns with a number in it.
    """
    metrics_csv = Path(metrics_csv)
    if not metrics_csv.is_file():
        raise ValueError(f"{metrics_csv} is not a file; expected the metrics.csv of a run")
    history = read_history(metrics_csv)
    panels = [name for name in ("losses", "metrics") if getattr(history, name)]
    if not panels:
        raise ValueError(f"{metrics_csv} has no numbers to draw; expected columns such as train/loss and {METRICS[0]}")
    panels += ["rates"] if history.rates else []
    best = history.best(best_by)
    figure = new_figure(5.4 * len(panels), 4.0)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        plain_axes(axes, *TITLES[panel])
        if panel == "rates":
            _rates(axes, history)
        else:
            _lines(axes, getattr(history, panel))
        axes.set_ylim(bottom=0, top=1.02 if panel == "metrics" else None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if best is not None and panel != "rates":
            axes.axvline(best[0] + 1, color=MUTED, linestyle="--", linewidth=1, zorder=1)
        if best is not None and panel == "metrics":
            _mark(axes, best, max(history.metrics[best_by]) + 1)
    return save(figure, path)


def _mark(axes: Axes, best: tuple[int, float], last: int) -> None:
    """Name the best epoch."""
    x, y = best[0] + 1, best[1]
    axes.plot([x], [y], "o", color=INK, markersize=7, zorder=5)
    right = x > last / 2
    axes.annotate(
        f"best: epoch {x}, {y:.3f}", (x, y), (-8 if right else 8, 12 if y < 0.5 else -16), textcoords="offset points",
        ha="right" if right else "left", fontsize=9, fontweight="bold", color=INK, bbox=PAPER,
    )  # fmt: skip


def _rates(axes: Axes, history: History) -> None:
    for index, (name, (epochs, values)) in enumerate(history.rates.items()):
        axes.plot(epochs, values, color=color_of(index), linewidth=1.8, label=name)
    axes.set_xlim(left=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=False)
    if len(history.rates) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _lines(axes: Axes, columns: Mapping[str, ByEpoch]) -> None:
    for index, (name, values) in enumerate(columns.items()):
        epochs = [epoch + 1 for epoch in sorted(values)]
        marker = "o" if len(epochs) < 15 else None
        axes.plot(
            epochs,
            [values[epoch - 1] for epoch in epochs],
            label=name.split("/")[1] if name.startswith(("train/", "val/mAP", "val/carried_")) else name,
            color=color_of(index),
            linewidth=1.8,
            marker=marker,
            markersize=4,
        )
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
