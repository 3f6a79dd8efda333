"""Weights to disk and back; damage and mismatch in words; full disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from emsyolo.app import build_detector
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import load_weights, read_weights, save_weights

CONFIG = {
    "config": {"T": 2, "model": {"depth": 10}},
    "class_names": ["a", "b", "c"],
    "model": "ems_resnet10",
    "dataset": "x",
}


def test_save_load_save_is_stable(tmp_path: Path, tiny_detector: Detector) -> None:
    save_weights(tmp_path / "a.safetensors", tiny_detector, CONFIG)
    weights = read_weights(tmp_path / "a.safetensors")
    assert weights.config == CONFIG
    with torch.no_grad():
        for parameter in tiny_detector.parameters():
            parameter.zero_()
    load_weights(tiny_detector, weights)
    save_weights(tmp_path / "b.safetensors", tiny_detector, weights.config)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt"])
def test_a_cut_file_is_named(tmp_path: Path, tiny_detector: Detector, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".ckpt":
        state = {f"detector.{n}": t for n, t in tiny_detector.state_dict().items()}
        torch.save({"hyper_parameters": CONFIG, "state_dict": state}, path)
    else:
        save_weights(path, tiny_detector, CONFIG)
    assert read_weights(path).config == CONFIG
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=rf"{name} cannot be read .*cut off"):
        read_weights(path)


def test_absent_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.ckpt does not exist"):
        read_weights(tmp_path / "no.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="was not written by emsyolo"):
        read_weights(tmp_path / "other.ckpt")


def test_another_architecture_is_refused_by_name(tmp_path: Path, tiny_detector: Detector) -> None:
    save_weights(tmp_path / "a.safetensors", tiny_detector, CONFIG)
    other = build_detector(model="ems_resnet18", num_classes=3, T=2, overrides=["model.width=0.125"])
    before = other.head.maps[0].weight.clone()
    with pytest.raises(ValueError, match=r"another architecture \(model ems_resnet10\): .*backbone\.stages"):
        load_weights(other, read_weights(tmp_path / "a.safetensors"))
    assert torch.equal(other.head.maps[0].weight, before)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_text("old")

    def full_disk() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"best\.ckpt could not be written .*No space left .*untouched"):
        full_disk()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["best.ckpt"]
