"""How the pictures look, and how they are saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

# Paul Tol's "bright" scheme and its dark neighbours: told apart also by colour-blind readers.
PALETTE = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#E07B00", "#004488", "#7A5C3E", "#44AA99")
INK = "#333333"
MUTED = "#8C8C8C"
GRID = "#E3E3E3"
DPI = 120
# Behind text that lies on lines:
PAPER: dict[str, Any] = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def color_of(index: int) -> str:
    """The colour of a class or a line; they come round again after the tenth."""
    return PALETTE[index % len(PALETTE)]


def ink_on(background: str) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = colors.to_rgb(background)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty white figure that arranges its parts itself."""
    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained", facecolor="white")


def plain_axes(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Title, labels, a light grid and no frame."""
    axes.set_title(title, fontsize=11, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, whole or not at all, and make the folders above it.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name may have a dollar in it
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(partial, format="png")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
