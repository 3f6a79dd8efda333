"""The measurement of converted networks: activity over time, and what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from emsyolo.app.build import build_detector, data_of, detector_of
from emsyolo.app.config import compose_config
from emsyolo.app.convert import _detect, _steps_to, _until, measure_conversion
from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.simulate import is_delayed
from emsyolo.evaluator.activity import ActivityMeter, ConvActivity
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.integrate import Rule
from emsyolo.types import Batch


def activity(times: list[int], rule: Rule) -> dict[int, tuple[list[ConvActivity], float]]:
    """Of two batches, of two images and of one, read out at some T."""
    torch.manual_seed(0)
    ann = build_detector("spiking_yolov3", 2, 1, ["model.width=0.05"]).eval()
    frames = torch.rand(1, 3, 3, 32, 64)
    settings = Conversion(rule=rule, normalise="max", chunk=5 if rule != "delayed" else 16)
    spiking = convert(ann, lambda: [frames], settings)
    meters = {t: ActivityMeter(spiking) for t in times}
    for some in (frames[:, :2], frames[:, 2:]):
        batch = Batch(some, (None,) * some.shape[1])  # type: ignore[arg-type]  # samples are counted alone
        _detect(ann, spiking, batch, Postprocess(), settings, meters, dict.fromkeys(times, 0.0))
    return _until(meters, alone=is_delayed(spiking))


@pytest.mark.parametrize("rule", ["plain", "signed", "delayed"])
def test_what_is_read_out_on_the_way_equals_a_pass_that_ends_there(rule: Rule) -> None:
    together = activity([4, 7, 16], rule)
    for t in (4, 7, 16):
        layers, rate = together[t]
        alone, alone_rate = activity([t], rule)[t]
        assert rate == pytest.approx(alone_rate, rel=1e-6)
        for one, other in zip(layers, alone, strict=True):
            for key in ("name", "binary", "signed"):
                assert getattr(one, key) == getattr(other, key), one.name
            for key in ("firing_rate", "macs", "synops", "passes"):
                assert getattr(one, key) == pytest.approx(getattr(other, key), rel=1e-6), (one.name, key)
    assert [one.passes for one in together[16][0] if one.name in ("backbone.fine.0.0", "head.maps.0")] == [1, 1]
    assert [one.passes for one in together[16][0] if one.name == "neck.reduce.0"] == [16]


def test_first_step_at_which_a_share_of_the_ann_is_reached() -> None:
    by_time = {1: None, 4: 0.45, 16: 0.474, 64: 0.5}
    assert _steps_to(by_time, 0.5) == {"90": 4, "95": 64, "99": 64}
    assert _steps_to(by_time, 0.6) == {"90": None, "95": None, "99": None}
    for nothing in (0.0, None):
        assert _steps_to(by_time, nothing) == {"90": None, "95": None, "99": None}


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Any]:
    """The default's network with ReLU, built for T = 4 as `model=ems_small neuron=relu T=4` does, not trained."""
    overrides = ["neuron=relu", "T=4", "model.width=0.125", "dataset.limit=4", "dataset.size_hw=[64,96]"]
    cfg = compose_config("evaluate", [*overrides, f"data_dir={tmp_path}"])
    OmegaConf.update(cfg, "model.num_classes", 10)
    OmegaConf.update(cfg, "model.anchors", [[[10, 14]], [[30, 30]]], merge=False)
    OmegaConf.update(cfg, "model.anchors_per_level", [1, 1])
    return measure_conversion(
        detector_of(cfg),
        data_of(cfg),
        instantiate(cfg.postprocess),
        Conversion(images=4, report=True),
        [4, 2],
        out=tmp_path,
        facts={"model": "ems_small"},
        mac_pj=4.6,
        ac_pj=0.9,
    )


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
