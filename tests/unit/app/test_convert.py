"""The measurement of converted networks: what is written, saved, and read again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from emsyolo.app.build import data_of, detector_of
from emsyolo.app.config import compose_config
from emsyolo.app.convert import converted, error_report
from emsyolo.app.measure import measure
from emsyolo.app.passes import Simulated
from emsyolo.convert.converter import Conversion
from emsyolo.model.postprocess import Postprocess


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Any]:
    """The default's network with ReLU, built for T = 4 as `model=ems_small neuron=relu T=4` does, not trained."""
    overrides = ["neuron=relu", "T=4", "model.width=0.125", "dataset.limit=4", "dataset.size_hw=[64,96]"]
    cfg = compose_config("evaluate", [*overrides, f"data_dir={tmp_path}"])
    OmegaConf.update(cfg, "model.num_classes", 10)
    OmegaConf.update(cfg, "model.anchors", [[[10, 14]], [[30, 30]]], merge=False)
    OmegaConf.update(cfg, "model.anchors_per_level", [1, 1])
    ann, data, settings = detector_of(cfg), data_of(cfg), Conversion(images=4, report=True)
    spiking, frames = converted(ann, data, settings, 4)
    errors = error_report(spiking, ann, frames[0], tmp_path)
    facts = {"model": "ems_small", "errors": errors}
    return measure(Simulated(spiking, [2], ann), data, Postprocess(), out=tmp_path, facts=facts)


def test_steps_that_were_typed_are_the_spiking_networks(measured: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads((tmp_path / "metrics.json").read_text()) == measured
    assert (measured["T"], list(measured["by_T"])) == (4, ["2", "4"])
    assert measured["ann"]["mAP"] == 0
    assert set(measured["steps_to"].values()) == {None}
    rows = list(csv.DictReader((tmp_path / "errors.csv").open()))
    assert len(rows) == len(measured["errors"]) > 0
    for row in rows:
        parts = sum(float(row[f"mean_{part}"]) for part in ("clipping", "quantisation", "unevenness"))
        assert parts == pytest.approx(float(row["mean_total"]), abs=1e-6)
    for name in ("by_T.png", "errors.png", "detections.png"):
        assert (tmp_path / name).stat().st_size > 0
