"""The outcome of a sweep, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from emsyolo.report.style import INK, MUTED, PALETTE, new_figure, plain_axes, save

PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}  # keeps text off lines


def sweep_summary(
    path: str | Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str = "mAP"
) -> Path:
    """A PNG of a metric against what a sweep varied.

    One key with numbers gives a line; several keys, or words, a bar for each run. A run without the metric (it failed)
    is named as such.

    Args:
        path: of the picture.
        rows: one per run: the values of the keys (numbers, or text as typed) and the metrics.
        keys: what was varied, such as `neuron.v_threshold`.
        metric: the column to draw.

    Raises:
        ValueError: no rows, no keys, or a row without one of the keys.
    """
    if not rows or not keys:
        raise ValueError(f"the sweep has {len(rows)} runs and {len(keys)} keys; expected at least one of each")
    for row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            raise ValueError(f"a run of the sweep has no {missing[0]!r}; expected one of {sorted(row)}")
    numbers = [_number(row[keys[0]]) for row in rows]
    known = [number for number in numbers if number is not None]
    if len(keys) == 1 and len(known) == len(rows):
        figure = new_figure(6.4, 4.2)
        _line(figure.subplots(), known, [row.get(metric) for row in rows], keys[0], metric)
    else:
        figure = new_figure(8, 0.34 * len(rows) + 1.4)
        _bars(figure.subplots(), rows, keys, metric)
    return save(figure, path)


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _line(axes: Axes, values: Sequence[float], results: Sequence[float | None], key: str, metric: str) -> None:
    points = sorted((x, y) for x, y in zip(values, results, strict=True) if y is not None)
    failed = [x for x, y in zip(values, results, strict=True) if y is None]
    plain_axes(axes, f"{metric} by {key}", key, metric)
    axes.plot([x for x, _ in points], [y for _, y in points], color=PALETTE[0], marker="o", linewidth=1.8)
    for x, y in points:
        axes.annotate(
            f"{y:.3f}", (x, y), (0, 8), textcoords="offset points", ha="center", fontsize=9, color=INK, bbox=PAPER
        )
    for x in failed:
        axes.axvline(x, color=MUTED, linestyle=":", label="failed" if x == failed[0] else None)
    if failed:
        axes.legend(frameon=False, labelcolor=INK)
    if len(set(values)) <= 10:
        axes.set_xticks(sorted(set(values)), [f"{x:g}" for x in sorted(set(values))])
    axes.margins(x=0.08, y=0.18)


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str) -> None:
    short = [key.rsplit(".", 1)[-1] for key in keys]
    shown = keys if len(set(short)) < len(keys) else short  # the last word of a key, where it says which
    names = [
        str(row[keys[0]]) if len(keys) == 1 else ", ".join(f"{s}={row[k]}" for s, k in zip(shown, keys, strict=True))
        for row in rows
    ]
    results = [row.get(metric) for row in rows]
    plain_axes(axes, f"{metric} by {', '.join(keys)}", metric, "")
    bars = axes.barh(range(len(rows)), [0.0 if y is None else y for y in results], color=PALETTE[0], height=0.66)
    axes.bar_label(
        bars, labels=["failed" if y is None else f"{y:.3f}" for y in results], padding=4, fontsize=9, color=INK
    )
    axes.set_yticks(range(len(rows)), names, fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first run on top
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
