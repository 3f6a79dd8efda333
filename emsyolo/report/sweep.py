"""The outcome of a sweep, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.image import imread

from emsyolo.report.style import DPI, INK, MUTED, PALETTE, PAPER, ink_on, new_figure, plain_axes, save


def sweep_summary(
    path: str | Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str = "mAP"
) -> Path:
    """A PNG of a metric against what a sweep varied.

    One key with numbers gives a line, two keys of which each value met each other a heat map; else there is a bar for
    each run. A run without the metric (it failed) is named as such.

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
    elif len(keys) == 2 and (grid := _grid(rows, keys)) is not None:
        figure = new_figure(1.0 * len(grid[1]) + 3, 0.6 * len(grid[0]) + 1.6)
        _heat(figure.subplots(), rows, keys, metric, *grid)
    else:
        figure = new_figure(8, 0.34 * len(rows) + 1.4)
        _bars(figure.subplots(), rows, keys, metric)
    return save(figure, path)


def side_by_side(path: str | Path, sheets: Mapping[str, Path]) -> Path:
    """A PNG of contact sheets beside each other: where the runs saw the same images, an image keeps its row.

    As Fig. 7 of Ming and Li, 2024, which compares networks.

    Args:
        path: of the picture.
        sheets: by title, PNGs.

    Raises:
        ValueError: no sheets.
    """
    if not sheets:
        raise ValueError("there are 0 contact sheets; expected at least one")
    pictures = [imread(sheet) for sheet in sheets.values()]
    widths = [picture.shape[1] for picture in pictures]
    figure = new_figure(sum(widths) / DPI, max(len(picture) for picture in pictures) / DPI + 0.4)
    row = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
    for axes, title, picture in zip(row, sheets, pictures, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=11, color=INK, fontweight="bold")
        axes.set_anchor("N")
        axes.set_axis_off()
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
    axes.set_ylim(bottom=min([0.0, *(y for _, y in points)]))  # differences that are noise look like noise


def _grid(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> tuple[list[Any], list[Any]] | None:
    """The values of both keys, in order, if every pair of them is one run's and neither key has only one value."""
    pairs = [tuple(row[key] for key in keys) for row in rows]
    first, second = (list(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    if len(set(pairs)) != len(pairs) or len(pairs) != len(first) * len(second) or min(len(first), len(second)) < 2:
        return None
    ordered = [
        sorted(values, key=float) if all(_number(v) is not None for v in values) else values
        for values in (first, second)
    ]
    return ordered[0], ordered[1]


def _heat(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    metric: str,
    first: Sequence[Any],
    second: Sequence[Any],
) -> None:
    by_pair = {(row[keys[0]], row[keys[1]]): row.get(metric) for row in rows}
    values = np.array([[np.nan if by_pair[a, b] is None else by_pair[a, b] for b in second] for a in first])
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=min(0.0, np.nanmin(values, initial=0.0)))
    plain_axes(axes, f"{metric} by {' and '.join(keys)}", keys[1], keys[0])
    colours = image.to_rgba(values)
    for (i, j), value in np.ndenumerate(values):
        ink, text = (MUTED, "failed") if np.isnan(value) else (ink_on(to_hex(tuple(colours[i, j]))), f"{value:.3f}")
        axes.text(j, i, text, ha="center", va="center", fontsize=10, color=ink)
    axes.set_xticks(range(len(second)), [str(value) for value in second])
    axes.set_yticks(range(len(first)), [str(value) for value in first])
    axes.grid(visible=False)


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
