"""The page of an evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

from emsyolo.report.page import page
from emsyolo.report.style import new_figure, save

METRICS = {
    "model": "ems_small",
    "dataset": "a<b",
    "images": 3,
    "checkpoint": "runs/best.ckpt",
    "T": 2,
    "mAP": 0.5,
    "mAP50": 0.75,
    "firing_rate": 0.1,
    "energy": {"snn_mJ": 0.2, "ann_mJ": 1.0, "ratio": 0.2},
    "impure": [{"name": "stem", "macs": 1e6}],
    "layers": [
        {"name": "stem", "binary": False, "firing_rate": 1.0, "macs": 1e6, "synops": 1e6},
        {"name": "next", "binary": True, "firing_rate": 0.1, "macs": 3e6, "synops": 3e5},
    ],
    "latency_ms": {"p50": 20.0, "p95": 30.0},
    "throughput": 50.0,
    "parameters": 1000,
    "per_class": {"cat": 0.6, "<i>": 0.4, "no": None},
}


def written(folder: Path, **more: object) -> str:
    (folder / "metrics.json").write_text(json.dumps({**METRICS, **more}))
    (folder / "config.yaml").write_text("T: 2\n")
    save(new_figure(2, 2), folder / "detections.png")
    return page(folder).read_text()


def test_everything_is_inside_and_nothing_is_fetched(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert "data:image/png;base64,iVBOR" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in text
    assert "a&lt;b" in text
    assert text.index("&lt;i&gt;") < text.index("<td>cat</td>")  # the worst class first
    assert "25.00%" in text  # of the MACs are not fed with spikes
    assert "<b>20.0</b><span>latency p50, ms</span>" in text


def test_an_early_readout_has_its_accuracy_alone(tmp_path: Path) -> None:
    text = written(tmp_path, by_T={"1": {"mAP": 0.4, "mAP50": 0.6}, "2": {"mAP": 0.5, "mAP50": 0.75}})
    assert "<td>1</td><td>0.6000</td><td>0.4000</td></tr>" in text.replace("\n", "")


def test_a_converted_network_has_its_curve(tmp_path: Path) -> None:
    one = {"mAP": 0.4, "mAP50": 0.6, "firing_rate": 0.1, "energy": {"snn_mJ": 0.1, "ann_mJ": 1.0, "ratio": 0.1}}
    text = written(tmp_path, by_T={"4": one, "8": one}, ann={"mAP": 0.5, "mAP50": 0.7})
    assert "<td>8</td>" in text
    assert "<td>ANN</td><td>0.7000</td><td>0.5000</td><td>-</td><td>1.0000</td><td>100.00%</td>" in text
    assert "<b>1.0000</b><span>the same as an ANN, mJ</span>" in text


def test_recordings_have_their_events_and_filters(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        events={"rate_per_s": 20_300.0, "windows": 14, "empty_windows": 3},
        by_filter={"none": {"images": 14, "mAP50": 0.75, "mAP": 0.5}, "rvt": {"images": 9, "mAP50": 0.8, "mAP": None}},
    )
    assert "<b>20.30 k</b><span>events per second</span>" in text
    assert "<b>3 of 14</b><span>empty windows</span>" in text
    assert "<td>rvt</td><td>9</td><td>0.8000</td><td>-</td>" in text
