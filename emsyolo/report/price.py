"""What accuracy costs in time and energy: runs of a sweep over ways of conversion and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emsyolo.report.style import INK, color_of, new_figure, plain_axes, save

PRICES = {"latency_steps": "steps until the answer", "energy_mJ": "energy per image, mJ"}
STEPS = "T"


def has_prices(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs differ in how many steps their answer takes."""
    return len({row.get("latency_steps") for row in rows}) > 1 and all(key in row for row in rows for key in PRICES)


def accuracy_by_price(
    path: str | Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str = "mAP"
) -> Path:
    """A PNG of a metric over the steps until the answer, and over energy; upwards and to the left is better.

    Runs that differ in T alone are a line, whose points are marked with T.

    Args:
        path: of the picture.
        rows: one per run: the values of the keys and the metrics, `latency_steps` and `energy_mJ` among them.
        keys: what was varied.
        metric: the column to draw.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("the sweep has 0 runs; expected at least one")
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = ", ".join(str(row[key]) for key in keys if key != STEPS)
        if row.get(metric) is not None:
            lines.setdefault(name, []).append(row)
    figure = new_figure(10.4, 4.2)
    for axes, (price, label) in zip(figure.subplots(1, len(PRICES)), PRICES.items(), strict=True):
        plain_axes(axes, f"{metric} by {label}", label, metric)
        for index, (name, line) in enumerate(lines.items()):
            ordered = sorted(line, key=lambda row: float(row[STEPS]))
            across, up = [row[price] for row in ordered], [row[metric] for row in ordered]
            axes.plot(across, up, color=color_of(index), marker="o", label=name or None)
            for x, y, row in zip(across, up, ordered, strict=True):
                text = f"{STEPS}={row[STEPS]}"
                axes.annotate(text, (x, y), (4, -11), textcoords="offset points", fontsize=8, color=INK)
        if price == "latency_steps":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.12)
        if any(lines):  # that have a name
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return save(figure, path)
