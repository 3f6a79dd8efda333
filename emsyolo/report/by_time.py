"""Converted networks: what more steps bring, and where the error lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from emsyolo.report.style import MUTED, PALETTE, new_figure, plain_axes, save

PARTS = ("clipping", "quantisation", "unevenness", "inherited")
ACTIVITY = ("firing_rate", "saturated", "silent")


def accuracy_by_time(path: str | Path, by_time: Mapping[int, Mapping[str, Any]]) -> Path:
    """A PNG of mAP over T: a spiking network, read out early."""
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    plain_axes(axes, "Accuracy", "T", "")
    times = list(by_time)
    for i, key in enumerate(("mAP50", "mAP")):
        known = [t for t in times if by_time[t][key] is not None]
        axes.plot(known, [by_time[t][key] for t in known], marker="o", color=PALETTE[i], label=key)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(times, [str(t) for t in times])
    axes.legend(frameon=False, fontsize=9)
    return save(figure, path)


def metrics_by_time(path: str | Path, by_time: Mapping[int, Mapping[str, Any]], ann: Mapping[str, Any]) -> Path:
    """A PNG of mAP, firing rate, energy and distance from the ANN's maps over T; dashed: the ANN, and the law 1/T.

    Args:
        path: of the picture.
        by_time: by T `mAP`, `mAP50`, `firing_rate`, `energy` {`snn_mJ`, `ann_mJ`} and `map_error`.
        ann: `mAP` and `mAP50` of the ANN; None without true boxes.
    """
    figure = new_figure(13, 3.6)
    accuracy, rate, cost, apart = figure.subplots(1, 4)
    times = list(by_time)
    plain_axes(accuracy, "Accuracy", "T", "")
    for i, key in enumerate(("mAP50", "mAP")):
        known = [t for t in times if by_time[t][key] is not None]
        accuracy.plot(known, [by_time[t][key] for t in known], marker="o", color=PALETTE[i], label=key)
        if ann[key] is not None:
            accuracy.axhline(ann[key], color=PALETTE[i], linestyle="--", linewidth=1)
    accuracy.set_ylim(0, 1.02)
    accuracy.legend(frameon=False, fontsize=9, title="dashed: the ANN")
    plain_axes(rate, "Firing rate", "T", "")
    rate.plot(times, [by_time[t]["firing_rate"] for t in times], marker="o", color=PALETTE[0])
    rate.set_ylim(bottom=0)
    plain_axes(cost, "Energy per image, mJ", "T", "")
    cost.plot(times, [by_time[t]["energy"]["snn_mJ"] for t in times], marker="o", color=PALETTE[0])
    cost.axhline(by_time[times[0]]["energy"]["ann_mJ"], color=MUTED, linestyle="--", linewidth=1)
    cost.set_ylim(bottom=0)
    plain_axes(apart, "Distance from ANN's maps", "T", "")
    errors = [by_time[t]["map_error"] for t in times]
    middle = len(times) // 2
    law = [errors[middle] * times[middle] / t for t in times]
    apart.plot(times, errors, marker="o", color=PALETTE[0])
    apart.plot(times, law, color=MUTED, linestyle="--", linewidth=1, label="slope of 1/T")
    apart.set_yscale("log")
    apart.yaxis.set_major_formatter("{x:g}")
    apart.yaxis.set_minor_formatter("")
    apart.legend(frameon=False, fontsize=9)
    for axes in (accuracy, rate, cost, apart):
        axes.set_xscale("log", base=2)
        axes.set_xlim(times[0] / 1.2, times[-1] * 1.2)
        axes.set_xticks(times, [str(t) for t in times])
    return save(figure, path)


def error_bars(path: str | Path, errors: Sequence[Mapping[str, Any]], steps: int) -> Path:
    """A PNG with the parts of each layer's error, root mean squares in thresholds; beside it what the layer does.

    Args:
        path: of the picture.
        errors: rows with `name`, `clipping`, `quantisation`, `unevenness`, `inherited`; `firing_rate`, `saturated`,
            `silent`.
        steps: T.
    """
    figure = new_figure(13, 0.42 * len(errors) + 1.9)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    plain_axes(left, f"Error of each layer at T = {steps}", "root mean square, in thresholds", "")
    _bars(left, errors, PARTS, PALETTE)
    plain_axes(right, "What its neurons do", "share of the neurons; firing rate: of the steps, too", "")
    _bars(right, errors, ACTIVITY, PALETTE[len(PARTS) :])
    right.set_xlim(0, 1)
    left.set_yticks(range(len(errors)), [error["name"] for error in errors], fontsize=8)
    left.set_ylim(len(errors) - 0.4, -0.6)
    figure.legend(loc="outside lower center", ncols=len(PARTS) + len(ACTIVITY), frameon=False, fontsize=9)
    return save(figure, path)


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], colors: Sequence[str]) -> None:
    """A group of bars for each row, one for each key."""
    height = 0.8 / len(keys)
    for i, key in enumerate(keys):
        places = [row + (i - (len(keys) - 1) / 2) * height for row in range(len(rows))]
        axes.barh(places, [row[key] for row in rows], height=height, color=colors[i], label=key.replace("_", " "))
    axes.grid(visible=False, axis="y")
