"""The tasks on a GPU, as a user runs them: train, evaluate, convert, along a stream."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emsyolo.app import call

pytestmark = pytest.mark.gpu


def small(folder: Path) -> list[str]:
    return [
        f"data_dir={folder}", f"runs_dir={folder}/runs", "dataset.limit=16", "dataset.batch_size=8",
        "dataset.eval_batch_size=8", "dataset.size_hw=[96,128]", "dataset.num_workers=0",
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["ems_small", "ems_small_ilif"])
def test_training_and_evaluation(device: torch.device, tmp_path: Path, model: str) -> None:
    once = ["trainer.max_epochs=1", "optimizer.warmup_epochs=0", "model.width=0.125"]
    trained = call("train", "speed_s=0", *small(tmp_path), *once, f"model={model}")
    for typed in ([], ["precision=bf16"], ["compile=graph"]):
        found = call("evaluate", "speed_s=0", *small(tmp_path), f"checkpoint={trained['checkpoint']}", *typed)
        assert found["mAP"] == pytest.approx(trained["mAP"], abs=0.02)
    assert torch.cuda.max_memory_allocated() > 0


def test_streams(device: torch.device, tmp_path: Path) -> None:
    typed = [f"data_dir={tmp_path}", f"runs_dir={tmp_path}/runs", "dataset=digits_dvs", "dataset.limit=8",
             "dataset.batch_size=4", "dataset.num_workers=0"]  # fmt: skip
    trained = call(
        "train", "speed_s=0", *typed, "trainer.max_epochs=1", "optimizer.warmup_epochs=0", "dataset.sequence=4"
    )
    found = call("evaluate", "speed_s=0", *typed, f"checkpoint={trained['checkpoint']}", "stream=true")
    assert found["stream"]


def test_conversion(device: torch.device, tmp_path: Path) -> None:
    once = ["trainer.max_epochs=1", "optimizer.warmup_epochs=0", "model.width=0.125"]
    trained = call("train", "speed_s=0", *small(tmp_path), *once, "model=spiking_yolov3_fc")
    for typed in (["convert=radix", "T=4"], ["convert=signed", "T=8"]):
        found = call("evaluate", "speed_s=0", *small(tmp_path), f"checkpoint={trained['checkpoint']}", *typed)
        assert found["by_T"]
