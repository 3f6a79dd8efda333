"""Curves: precision over recall, and losses and metrics over training."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emsyolo.report.style import INK, MUTED, PALETTE, color_of, new_figure, plain_axes, save

Curve = NDArray[np.float64]

METRICS = ("val/mAP", "val/mAP50", "val/mAP75", "val/carried_mAP", "val/carried_mAP50")


def precision_recall_curves(path: str | Path, recall: Curve, per_class: Mapping[str, Curve], mean: Curve) -> Path:
    """A PNG of precision over recall at IoU 0.5, by class and on average.

    Up to ten classes are named, with their average precision; more are thin grey lines.

    Args:
        path: of the picture.
        recall: `[R]` in 0..1.
        per_class: precision `[R]` in 0..1 by class name.
        mean: precision `[R]` averaged over classes.
    """
    figure = new_figure(7.6, 4.6)
    axes = figure.subplots()
    plain_axes(axes, "Precision and recall at IoU 0.5", "recall", "precision")
    named = len(per_class) <= len(PALETTE)
    for index, (name, precision) in enumerate(per_class.items()):
        look: dict[str, Any] = (
            {"color": color_of(index), "linewidth": 1.4} if named else {"color": MUTED, "linewidth": 0.6, "alpha": 0.6}
        )
        label = f"{name}  {np.mean(precision):.3f}" if named else ("one class each" if index == 0 else None)
        axes.plot(recall, precision, label=label, **look)
    axes.plot(recall, mean, color=INK, linewidth=2.8, label=f"mean of {len(per_class)}  {np.mean(mean):.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    figure.legend(loc="outside right center", frameon=False, fontsize=9, title="average precision", labelcolor=INK)
    return save(figure, path)


def training_curves(path: str | Path, metrics_csv: str | Path) -> Path:
    """A PNG of the losses and of the metrics by epoch, from the CSV that the trainer logs.

    Reads the columns `train/loss`, `train/PART` of whatever parts the loss has, `val/loss` (or these with the ending
    `_epoch`) and those of `METRICS`, as far as they are there; several rows of one epoch are averaged.

    Raises:
        ValueError: no such file, or none of these columns with a number in it.
    """
    metrics_csv = Path(metrics_csv)
    if not metrics_csv.is_file():
        raise ValueError(f"{metrics_csv} is not a file; expected the metrics.csv of a run")
    losses = _by_epoch(metrics_csv, _losses(metrics_csv))
    metrics = _by_epoch(metrics_csv, METRICS)
    panels = [panel for panel in (("Loss", "loss", losses), ("Validation", "mAP", metrics)) if panel[2]]
    if not panels:
        raise ValueError(f"{metrics_csv} has no numbers to draw; expected columns such as train/loss and {METRICS[0]}")
    figure = new_figure(5.4 * len(panels), 4.0)
    for axes, (title, ylabel, columns) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        plain_axes(axes, title, "epoch", ylabel)
        _lines(axes, columns)
        axes.set_ylim(0, 1.02) if columns is metrics else axes.set_ylim(bottom=0)
    return save(figure, path)


def _losses(metrics_csv: Path) -> tuple[str, ...]:
    """The columns of the loss and its parts, the loss first, without the endings that Lightning adds."""
    with metrics_csv.open(encoding="utf-8", newline="") as lines:
        columns = next(csv.reader(lines), [])
    names = (name.removesuffix("_epoch").removesuffix("_step") for name in columns if name.startswith("train/"))
    return tuple(dict.fromkeys(("train/loss", *names, "val/loss")))


def _lines(axes: Axes, columns: Mapping[str, Mapping[int, float]]) -> None:
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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _by_epoch(metrics_csv: Path, columns: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """Mean of each column in each epoch (from 0); blanks are left out, and columns without a number."""
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in columns}
    with metrics_csv.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for name in columns:
                value = row.get(f"{name}_epoch") or row.get(name)
                if value and row.get("epoch"):
                    found[name][int(float(row["epoch"]))].append(float(value))
    return {name: {epoch: float(np.mean(v)) for epoch, v in e.items()} for name, e in found.items() if e}
