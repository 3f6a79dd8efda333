"""The scripts on the conversion path: train an ANN, evaluate it as a spiking network at many T."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from e2e_settings import TINY, Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SMALL = ["dataset.limit=8", "dataset.eval_batch_size=4", "convert.images=8"]


def newest(runs: Path) -> Path:
    return max(runs.glob("digits/spiking_yolov3_fc/*/metrics.json"), key=lambda path: path.stat().st_mtime).parent


def test_one_pass_reads_out_at_every_time(script: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script("train.py", "model=spiking_yolov3_fc", *TINY, "trainer.max_epochs=1")
    ann = json.loads((newest(runs) / "metrics.json").read_text())
    assert ann["T"] == 1
    script("evaluate.py", "model=spiking_yolov3_fc", "T=[1,4,16]", "convert.report=true", "report=true", *SMALL)
    out = newest(runs)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["T"] == 16
    assert list(metrics["by_T"]) == ["1", "4", "16"]
    assert metrics["steps_to"].keys() == {"90", "95", "99"}
    energies = [one["energy"]["snn_mJ"] for one in metrics["by_T"].values()]
    assert energies == sorted(energies)
    distances = [one["map_error"] for one in metrics["by_T"].values()]
    assert distances == sorted(distances, reverse=True)
    # The image's convolution and the two maps alone are fed by numbers; a network so small may leave a map without.
    silent = {one["name"] for one in metrics["layers"] if one["firing_rate"] == 0}
    fed_by_numbers = {"backbone.fine.0.0", "head.maps.0", "head.maps.1"}
    assert {one["name"] for one in metrics["impure"]} == fed_by_numbers - silent
    assert len(list(csv.DictReader((out / "errors.csv").open()))) == 17
    assert "By time steps" in (out / "report.html").read_text()
    pictures = ("by_T", "errors", "detections", "best", "worst", "precision_recall", "firing_rates")
    for name in (f"{one}.png" for one in pictures):
        assert (out / name).stat().st_size > 0
    script("evaluate.py", "model=spiking_yolov3_fc", "T=16", "convert=delayed", *SMALL)
    assert json.loads((newest(runs) / "metrics.json").read_text())["convert"]["rule"] == "delayed"
    done = script("evaluate.py", "model=spiking_yolov3_fc", "T=[0,4]", *SMALL, ok=False)
    assert done.returncode == 1
    assert "T is [0, 4]; expected whole numbers of time steps" in done.stdout + done.stderr
