"""The figures of a training by step, in a CSV file that a kill at any moment leaves readable."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from emsyolo.io import written_whole


class History(Logger):
    """A logger that appends one row for each call; Lightning's own deletes the file of a run that is gone on with.

    A new column writes the file anew, whole or not at all. A row that a kill cut short is left out when the file is
    read again; rows older than the last checkpoint were whole before it.

    Args:
        path: of the CSV file; nothing is written before the first row.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        """Empty: there is no folder of its own."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as the name."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: they stand in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row.

        Raises:
            OSError: it could not be written; names the file.
        """
        row = {name: float(value) for name, value in metrics.items()} | {"step": 0 if step is None else step}
        if not row.keys() <= set(self._columns):
            self._write([*_rows(self._path), row])
            return
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        except OSError as error:
            raise OSError(f"{self._path} could not be written ({error})") from error

    @rank_zero_only
    def keep_until(self, step: int) -> None:
        """Drop the rows from a step on, of a run that goes on from there."""
        rows = [row for row in _rows(self._path) if row["step"] < step]
        if rows:
            self._write(rows)

    def _write(self, rows: list[dict[str, float]]) -> None:
        self._columns = sorted({name for row in rows for name in row})
        with written_whole(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def _rows(path: Path) -> list[dict[str, float]]:
    """The rows of the file that are whole; none if there is no file."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            try:
                numbers = {name: float(value) for name, value in row.items() if value}
                rows.append({**numbers, "step": int(row["step"])})
            except (TypeError, ValueError, KeyError, AttributeError):
                continue
    return rows
