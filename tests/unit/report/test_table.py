"""Tables say what metrics.json says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from emsyolo.report.table import errors_table, layers_line, metrics_table, show, sweep_table

METRICS: dict[str, Any] = {
    "mAP": 0.72124,
    "mAP50": 0.95,
    "mAP75": 0.8,
    "mAP_small": 0.7,
    "mAP_medium": 0.75,
    "mAP_large": None,
    "per_class": {"ace": 0.7, "king [of hearts]": None},
    "T": 4,
    "images": 400,
    "firing_rate": 0.12345,
    "layers": [
        {"name": "stem", "firing_rate": 1.0, "binary": False, "macs": 1.2e6, "synops": 1.2e6},
        {"name": "head.out", "firing_rate": 0.05, "binary": True, "macs": 2e9, "synops": 1e8},
    ],
    "impure": [{"name": "stem", "macs": 1.2e6}],
    "energy": {"snn_mJ": 0.00123, "ann_mJ": 0.25, "ratio": 0.00492},
    "latency_ms": {"p50": 12.34, "p95": 20.0},
    "throughput": 210.04,
    "parameters": 1_234_567,
    "dataset": "digits",
    "model": "ems_resnet10",
}


def lines(table: Table) -> list[str]:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [re.sub(r"  +", " | ", line.strip()) for line in capture.get().splitlines() if line.strip()]


def test_metrics() -> None:
    shown = lines(metrics_table(METRICS))
    assert shown == [
        "ems_resnet10 on digits",
        "mAP | 0.7212",
        "mAP50 | 0.9500",
        "mAP75 | 0.8000",
        "mAP_small | 0.7000",
        "mAP_medium | 0.7500",
        "mAP_large | -",
        "mAP of ace | 0.7000",
        "mAP of king [of hearts] | -",
        "firing rate | 12.35%",
        "energy per image | 0.00123 mJ",
        "the same as an ANN | 0.2500 mJ",
        "ratio | 0.00492",
        "convolutions not fed with spikes | 1 (1.20 M MACs)",
        "latency p50 | 12.3 ms",
        "latency p95 | 20.0 ms",
        "throughput | 210.0 images/s",
        "T | 4",
        "images | 400",
        "parameters | 1.23 M",
    ]


def test_metrics_of_a_network_without_spikes_and_in_part() -> None:
    assert lines(metrics_table({"mAP": 0.5, "firing_rate": None})) == ["mAP | 0.5000", "firing rate | -"]


def test_errors() -> None:
    one = {"name": "neck.reduce.2", "clipping": 0.1, "total": 0.25, "mean_clipping": -0.05, "mean_total": 0.0}
    shown = lines(errors_table([{**one, "firing_rate": 0.125}]))
    assert "neck.reduce.2 | 0.1000 / -0.0500 | 0.2500 / +0.0000 | 0.1250" in shown
    assert [line for line in shown if line.startswith("layer")] == ["layer | clipping | total | firing rate"]


def test_layers() -> None:
    layers = [
        {"binary": False, "levels": None, "macs": 10},
        {"binary": True, "levels": 1, "macs": 60},
        {"binary": False, "levels": 4, "macs": 20},
        {"binary": True, "levels": 1, "macs": 10},
    ]
    assert layers_line({"layers": layers}) == (
        "1 fed by numbers (10.0% of the MACs), 2 fed by spikes of 0 and 1 (70.0% of the MACs), "
        "1 fed by spikes of 0 to 4 (20.0% of the MACs)"
    )


def test_of_many_classes_the_worst_are_shown() -> None:
    per_class: dict[str, float | None] = {f"class {i}": i / 20 for i in range(12)} | {"absent": None}
    shown = lines(metrics_table({"per_class": per_class}))
    assert [line for line in shown if "mAP of" in line][::9] == ["mAP of class 0 | 0.0000", "mAP of class 9 | 0.4500"]
    assert "and 3 classes that are better or absent | see metrics.json" in shown


def test_sweep() -> None:
    rows = [{"neuron.v_threshold": "0.3", "mAP": 0.5, "mAP50": 0.8}, {"neuron.v_threshold": "0.5", "mAP": None}]
    table = sweep_table(rows, ["neuron.v_threshold"])
    shown = lines(table)
    assert shown[1] == "neuron.v_threshold | mAP | mAP50"
    assert shown[-2:] == ["0.3 | 0.5000 | 0.8000", "0.5 | - | -"]
    assert [row.style for row in table.rows] == ["bold", None]


def test_a_file_gets_the_whole_table_however_wide(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [f"key.of.a.long.name.{i}" for i in range(20)]
    show(sweep_table([dict.fromkeys(keys, "as long a value as its key")], keys))
    shown = capsys.readouterr().out
    assert all(key in shown for key in keys)
    assert max(map(len, shown.splitlines())) < 20 * (len("as long a value as its key") + 4)
