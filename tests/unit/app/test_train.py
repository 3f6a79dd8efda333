"""The task of train.py: parts that are trained alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emsyolo.app import call


@pytest.mark.slow
def test_a_temporal_part_is_trained_alone_on_weights_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = [
        f"data_dir={tmp_path}", f"runs_dir={tmp_path}/runs", "dataset.limit=4", "dataset.batch_size=2",
        "dataset.size_hw=[64,96]", "dataset.num_workers=0", "model.width=0.125", "trainer.max_epochs=1",
        "optimizer.warmup_epochs=0",
    ]  # fmt: skip
    first = Path(call("train", "speed_s=0", *small)["checkpoint"])
    with caplog.at_level(logging.INFO):
        second = call("train", "speed_s=0", *small, "temporal=conv_lstm", "trainable=[temporal]", f"weights={first}")[
            "checkpoint"
        ]
    assert "weights: new, since the file does not have them: temporal" in caplog.text
    assert "trainable=['temporal']: " in caplog.text
    before, after = load_file(first), load_file(second)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"temporal"}
    evaluated = call("evaluate", "speed_s=0", *small[:3], f"checkpoint={second}", "dataset.num_workers=0")
    assert {"temporal.levels.0.input", "temporal.levels.1.output"} <= {row["name"] for row in evaluated["layers"]}
    with pytest.raises(ValueError, match=r"trainable is \['memory'\]; expected some of this detector's parts"):
        call("train", "speed_s=0", *small, "trainable=[memory]")
