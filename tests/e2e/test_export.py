"""A trained detector in every form that export.py writes."""

from __future__ import annotations

import json
from pathlib import Path

import nir
import onnx
import pytest
from e2e_settings import TINY, Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_every_form_of_a_trained_detector(script: Run, tmp_path: Path) -> None:
    script("train.py", *TINY, "T=2", "dataset.limit=8", "trainer.max_epochs=1")
    (run,) = (tmp_path / "runs").glob("digits/ems_small/*")
    trained = json.loads((run / "metrics.json").read_text())
    best = run / "checkpoints" / "best.ckpt"

    said = script("export.py", f"checkpoint={best}", "format=onnx", f"out={tmp_path / 'net.onnx'}").stdout
    assert said.count("of the trained detector's (allowed: 0.01)") == 2
    assert [one.name for one in onnx.load(tmp_path / "net.onnx").graph.output] == ["boxes", "scores"]
    outputs = [one.name for one in onnx.load(tmp_path / "net.step.onnx").graph.output]
    assert outputs[:2] == ["map_16", "map_32"]

    said = script(
        "export.py", f"checkpoint={best}", "format=nir", f"out={tmp_path / 'net.nir'}", "format.part=largest"
    ).stdout
    assert "up to backbone.stages.0.0.residual; one step is 0.0001 s" in said
    assert nir.read(str(tmp_path / "net.nir")).nodes["input"].output_type["output"].tolist() == [3, 96, 128]

    script("export.py", f"checkpoint={best}", "format=safetensors", f"out={tmp_path / 'net.safetensors'}")
    script("evaluate.py", f"checkpoint={tmp_path / 'net.safetensors'}", "dataset.limit=8", "dataset.eval_batch_size=8")
    (again,) = [p for p in (tmp_path / "runs").glob("digits/ems_small/*/metrics.json") if p.parent != run]
    evaluated = json.loads(again.read_text())
    for key in ("mAP", "mAP50", "T", "firing_rate"):
        assert evaluated[key] == trained[key], key

    failed = script("export.py", f"checkpoint={best}", "format=tflite", ok=False)
    assert failed.returncode == 1
    assert failed.stderr.endswith("error: format=tflite: expected one of nir, onnx, safetensors\n")
