"""The end of a multirun: one table and one plot of all its runs."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from emsyolo.report.price import accuracy_by_price, has_prices
from emsyolo.report.sweep import side_by_side, sweep_summary
from emsyolo.report.table import show, sweep_table

log = logging.getLogger(__name__)
SHEET = "detections.png"
SHEETS = 6  # that can be looked at side by side


class SweepSummary(Callback):
    """A Hydra callback; it reads the runs' files, so that it serves any launcher."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Sum up the runs."""
        summarise(Path(config.hydra.sweep.dir))


def main(words: Sequence[str] | None = None) -> int:
    """The command `emsyolo sweep-summary`; gives its exit status."""
    parser = argparse.ArgumentParser(
        "emsyolo sweep-summary", description="Make the table and picture of a sweep again."
    )
    parser.add_argument("folder", type=Path, help="of the sweep, which holds the folders 0, 1, ... of its runs")
    given = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if summarise(given.folder.resolve()):
        return 0
    print(f"error: {given.folder}: no run of a sweep in it; expected 0/overrides.yaml and so on", file=sys.stderr)
    return 1


def summarise(folder: Path) -> bool:
    """Write `sweep.png`, `sweep.csv`, `sweep.json`, of up to six runs `detections.png`, and print the table.

    Where runs answer after different numbers of steps, also `prices.png`.

    Args:
        folder: of the sweep, `RUNS/DATASET/MODEL/TIME`.

    Returns:
        Whether there was a run.
    """
    # A sweep over models or data sets lies in several folders of the same time.
    runs = sorted(folder.parents[2].glob(f"*/*/{folder.name}/*/overrides.yaml"), key=_number)
    typed = {
        path: dict(o.partition("=")[::2] for o in yaml.safe_load(path.read_text(encoding="utf-8"))) for path in runs
    }
    if not runs:
        return False
    first = next(iter(typed.values()))
    keys = [k for k in first if len({row.get(k) for row in typed.values()}) > 1] or list(first)
    rows = []
    for path, overrides in typed.items():
        row: dict[str, Any] = {key: _value(overrides.get(key, "")) for key in keys}
        metrics = path.with_name("metrics.json")
        row |= _figures(metrics) if metrics.exists() else {"failed": _failure(path)}
        rows.append({**row, "folder": str(path.parent)})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    show(sweep_table(rows, keys))
    done = [row for row in rows if "failed" not in row]
    for row in rows:
        if "failed" in row:
            log.error("failed: %s: %s", row["folder"], row["failed"])
    if done:
        sweep_summary(folder / "sweep.png", done, keys)
    if has_prices(done):
        accuracy_by_price(folder / "prices.png", done, keys)
    sheets = {", ".join(f"{key}={row[key]}" for key in keys): Path(row["folder"]) / SHEET for row in done}
    sheets = {title: path for title, path in sheets.items() if path.exists()}
    if 1 < len(sheets) <= SHEETS:
        side_by_side(folder / SHEET, sheets)
    log.info("written: %s", folder)
    return True


def _figures(path: Path) -> dict[str, Any]:
    """The single figures of a metrics.json, energies flattened, impure convolutions added up."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    energy = {f"energy_{key.removeprefix('snn_')}": value for key, value in metrics["energy"].items()}
    purity = {"non_spike_macs": sum(row["macs"] for row in metrics["impure"])}
    return {key: value for key, value in metrics.items() if not isinstance(value, (dict, list))} | energy | purity


def _number(path: Path) -> int:
    return int(path.parent.name) if path.parent.name.isdigit() else 0


def _value(text: str) -> Any:
    return yaml.safe_load(text)


def _failure(path: Path) -> str:
    error = path.with_name("error.txt")
    return error.read_text(encoding="utf-8").strip() if error.exists() else "did not end"
