"""Every event data set of the configs, on a made tree with its official names: a step of training, then evaluation."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from event_trees import TREES

from emsyolo.app import call, measure
from emsyolo.evaluator.speed import measure_speed

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
# The sizes of frames are the only thing that is not as published; the time is in the network.
SMALL = {
    "one_mpx": ["dataset.frame_hw=[90,160]", "dataset.size_hw=[96,160]"],
    "etram": ["dataset.frame_hw=[90,160]", "dataset.size_hw=[96,160]"],
    "dsec_detection": [
        "dataset.frame_hw=[120,160]",
        "dataset.size_hw=[128,160]",
        "dataset.val_sequences=[zurich_city_16_a]",
    ],
    "pedro": ["dataset.frame_hw=[130,173]", "dataset.size_hw=[160,192]"],
    "fred": ["dataset.frame_hw=[90,160]", "dataset.size_hw=[96,160]"],
    "ncaltech101": ["dataset.frame_hw=[90,120]", "dataset.size_hw=[96,128]"],
    "rvt_tree": [],
}
DRAWN = ("dsec_detection", "rvt_tree")  # of a recording, and of frames


@pytest.mark.parametrize("name", TREES)
def test_trains_and_evaluates(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measure_speed", partial(measure_speed, max_runs=1, warm_up=1))
    TREES[name](tmp_path / name)
    data = [f"dataset={name}", f"dataset.root={tmp_path / name}", f"runs_dir={tmp_path / 'runs'}", *SMALL[name]]
    data += ["dataset.num_workers=0", "dataset.limit=8", "dataset.batch_size=8", "dataset.eval_batch_size=8"]
    small = [
        "model=ems_small",
        "model.depth=[1,1,1,1]",
        "head=anchor_free",
        "model.width=0.125",
        "trainer.max_epochs=1",
        "T=1",
    ]
    trained = call("train", *data, *small, "pictures=false")
    assert trained["images"] >= 2
    assert trained["events"]["rate_per_s"] > 100
    assert {"none", "prophesee", "one_mpx"} <= trained["by_filter"].keys()
    recorded = name != "rvt_tree"  # which keeps frames
    drawn = f"pictures={name in DRAWN}".lower()
    evaluated = call("evaluate", "speed_s=0", *data, "model=ems_small", f"stream={recorded}", drawn)
    assert evaluated["mAP"] == trained["mAP"]
    assert not recorded or evaluated["stream"]["steps"] >= evaluated["stream"]["recordings"] > 0
    (run, _) = sorted((tmp_path / "runs").glob(f"{name}/ems_small/*"))
    assert json.loads((run / "metrics.json").read_text())["dataset"] == name
    assert "in_channels: 20" in (run / "config.yaml").read_text()
