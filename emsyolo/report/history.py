"""The figures of a training, read from the CSV file that the trainer logs."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

METRICS = ("val/mAP", "val/mAP50", "val/mAP75", "val/carried_mAP", "val/carried_mAP50")
RATE = "lr-"  # before the name of an optimiser, behind which may stand a group of parameters

ByEpoch = Mapping[int, float]  # from 0


@dataclass(frozen=True)
class History:
    """A training by epoch.

    Attributes:
        losses: by column, the loss first.
        metrics: by column, of validation.
        rates: learning rates by name, each the epochs (1.5 is half-way through the second) and the rates at them; what
            several groups of parameters have in common stands once.
    """

    losses: Mapping[str, ByEpoch]
    metrics: Mapping[str, ByEpoch]
    rates: Mapping[str, tuple[list[float], list[float]]]

    def best(self, metric: str) -> tuple[int, float] | None:
        """The epoch (from 0) of the largest value of a metric, the first of equal ones, and the value."""
        values = self.metrics.get(metric)
        if not values:
            return None
        epoch = max(sorted(values), key=lambda e: values[e])
        return epoch, values[epoch]


def read_history(metrics_csv: Path) -> History:
    """The columns `train/loss`, `train/PART`, `val/loss`, `METRICS` and `lr-*`, as far as they are there.

    A column may have the ending `_epoch`; several rows of one epoch are averaged, and blanks left out.

    Raises:
        OSError: the file cannot be read.
    """
    with metrics_csv.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        rows, columns = list(reader), list(reader.fieldnames or ())
    losses = _means(rows, _losses(columns))
    return History(losses, _means(rows, METRICS), _rates(rows, columns))


def _losses(columns: list[str]) -> tuple[str, ...]:
    """The columns of the loss and its parts, the loss first, without the endings that Lightning adds."""
    names = (name.removesuffix("_epoch").removesuffix("_step") for name in columns if name.startswith("train/"))
    return tuple(dict.fromkeys(("train/loss", *names, "val/loss")))


def _means(rows: list[dict[str, str]], columns: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """Mean of each column in each epoch (from 0); columns without a number are left out."""
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in columns}
    for row in rows:
        for name in columns:
            value = row.get(f"{name}_epoch") or row.get(name)
            if value and row.get("epoch"):
                found[name][int(float(row["epoch"]))].append(float(value))
    return {name: {epoch: float(np.mean(v)) for epoch, v in e.items()} for name, e in found.items() if e}


def _rates(rows: list[dict[str, str]], columns: list[str]) -> dict[str, tuple[list[float], list[float]]]:
    ends: dict[float, float] = {}  # by epoch its last step
    for row in rows:
        if row.get("epoch") and row.get("step"):
            epoch = float(row["epoch"])
            ends[epoch] = max(float(row["step"]), ends.get(epoch, 0.0))
    if not ends:
        return {}
    steps, epochs = [0.0, *(ends[e] for e in sorted(ends))], [0.0, *(e + 1 for e in sorted(ends))]
    found: dict[str, tuple[list[float], list[float]]] = {}
    for name in columns:
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name) and row.get("step")]
        if not name.startswith(RATE) or not points:
            continue
        at, values = zip(*sorted(points), strict=True)
        one = (np.interp(at, steps, epochs).tolist(), list(values))
        if one not in found.values():
            found[name.removeprefix(RATE)] = one
    return found if len(found) != 1 else {"learning rate": next(iter(found.values()))}
