"""The scripts on the conversion path: train an ANN, evaluate it as a spiking network at many T."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from e2e_settings import TINY, Run
from PIL import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SMALL = ["dataset.limit=8", "dataset.eval_batch_size=4", "convert.images=8"]


def newest(runs: Path) -> Path:
    return max(runs.glob("digits/spiking_yolov3_fc/*/metrics.json"), key=lambda path: path.stat().st_mtime).parent


def test_one_pass_reads_out_at_every_time(script: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script("train.py", "model=spiking_yolov3_fc", *TINY, "trainer.max_epochs=1")
    ann = json.loads((newest(runs) / "metrics.json").read_text())
    assert ann["T"] == 1
    script(
        "evaluate.py", "model=spiking_yolov3_fc", "T=16", "read_out=[1,4]", "convert.report=true", "report=true", *SMALL
    )
    out = newest(runs)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["T"] == 16
    assert list(metrics["by_T"]) == ["1", "4", "16"]
    assert metrics["steps_to"].keys() == {"90", "95", "99"}
    sent = [one["spikes_per_image"] for one in metrics["by_T"].values()]
    assert sent[0] <= sent[1] < sent[2] == metrics["spikes_per_image"]
    energies = [one["energy"]["snn_mJ"] for one in metrics["by_T"].values()]
    assert energies == sorted(energies)
    distances = [one["map_error"] for one in metrics["by_T"].values()]
    assert distances == sorted(distances, reverse=True)
    # Only the image's convolution and the two maps are fed by numbers.
    assert {one["name"] for one in metrics["impure"]} == {"backbone.fine.0.0", "head.maps.0", "head.maps.1"}
    assert {one["levels"] for one in metrics["layers"]} == {1, None}
    assert len(list(csv.DictReader((out / "errors.csv").open()))) == 17
    assert "By time steps" in (out / "report.html").read_text()
    pictures = ("by_T", "errors", "detections", "best", "worst", "precision_recall", "firing_rates")
    for name in (f"{one}.png" for one in pictures):
        assert (out / name).stat().st_size > 0
    converted = out / "converted.safetensors"
    script("evaluate.py", f"checkpoint={converted}", "read_out=[4]", "dataset.limit=8", "dataset.eval_batch_size=4")
    again = json.loads((newest(runs) / "metrics.json").read_text())
    assert (again["T"], list(again["by_T"])) == (16, ["4", "16"])
    for key in ("mAP", "mAP50"):
        assert again[key] == metrics[key], key
    for key in ("firing_rate", "energy"):  # of other stretches, whose sums round differently
        assert again[key] == pytest.approx(metrics[key], rel=1e-9), key
    for one, other in zip(again["layers"], metrics["layers"], strict=True):
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name
    pictures_of = tmp_path / "pictures"
    pictures_of.mkdir()
    Image.fromarray((np.random.default_rng(0).random((96, 128, 3)) * 255).astype("uint8")).save(pictures_of / "a.png")
    script("predict.py", f"checkpoint={converted}", f"source={pictures_of}", f"out={tmp_path / 'found'}")
    assert (tmp_path / "found" / "predictions.json").exists()
    script("export.py", f"checkpoint={converted}", f"out={tmp_path / 'spiking.onnx'}", "T=2", "dataset.limit=8")
    assert (tmp_path / "spiking.step.onnx").exists()
    script("export.py", "model=spiking_yolov3_fc", "format=safetensors", "convert=plain", "T=4",
           f"out={tmp_path / 'spiking'}", *SMALL)  # fmt: skip
    assert (tmp_path / "spiking.safetensors").exists()

    for rule, steps in (("delayed", 2), ("radix", 3)):
        more = ["convert.tune_epochs=1"] if rule == "radix" else []
        script("evaluate.py", "model=spiking_yolov3_fc", f"T={steps}", f"convert={rule}", *more, *SMALL)
        metrics = json.loads((newest(runs) / "metrics.json").read_text())
        assert (metrics["convert"]["rule"], list(metrics["by_T"])) == (rule, [str(steps)])
        assert metrics["latency_steps"] == steps + 16 * steps  # of the longest way through the network
        assert {one["levels"] for one in metrics["layers"]} == {1, None}
        converted = newest(runs) / "converted.safetensors"
        script("evaluate.py", f"checkpoint={converted}", "dataset.limit=8", "dataset.eval_batch_size=4")
        again = json.loads((newest(runs) / "metrics.json").read_text())
        for key in ("mAP", "mAP50", "firing_rate", "layers", "energy", "latency_steps"):
            assert again[key] == metrics[key], key
        script("export.py", f"checkpoint={converted}", f"out={tmp_path / rule}.onnx", "dataset.limit=8")
    done = script("evaluate.py", "model=spiking_yolov3_fc", "T=[1,4]", *SMALL, ok=False)
    assert done.returncode == 1
    assert "T=[1, 4]: expected a number; for several type T=4 read_out=[1, 4]" in done.stdout + done.stderr
