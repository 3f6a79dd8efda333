"""Firing rates, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch

from emsyolo.report.style import INK, PALETTE, new_figure, plain_axes, save

SPIKES, NUMBERS = PALETTE[0], PALETTE[1]


def firing_rates(path: str | Path, layers: Sequence[Mapping[str, Any]]) -> Path:
    """A PNG with a bar per convolution: the share of its input that fires (or, if it is not binary, that is not 0).

    Args:
        path: of the picture.
        layers: rows of metrics.json: `name`, `firing_rate` in 0..1, `binary`.

    Raises:
        ValueError: no layers.
    """
    if not layers:
        raise ValueError("there are no layers to draw; expected at least one convolution")
    rates = [layer["firing_rate"] for layer in layers]
    shades = [SPIKES if layer["binary"] else NUMBERS for layer in layers]
    figure = new_figure(9, 0.21 * len(layers) + 1.5)
    axes = figure.subplots()
    plain_axes(axes, "What each convolution is fed with", "share of the input that is not 0", "")
    places = range(len(layers))
    bars = axes.barh(places, rates, color=shades, height=0.72)
    axes.bar_label(bars, labels=[f"{rate:.1%}" for rate in rates], padding=3, fontsize=8, color=INK)
    axes.set_yticks(places, [layer["name"] for layer in layers], fontsize=8)
    axes.set_ylim(len(layers) - 0.4, -0.6)  # the first layer on top
    axes.set_xlim(0, max(1e-3, *rates) * 1.12)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.3g}")
    axes.grid(visible=False, axis="y")
    handles = [Patch(color=SPIKES, label="spikes (0 and 1 only)"), Patch(color=NUMBERS, label="numbers (not binary)")]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return save(figure, path)
