"""Weights in fewer bits, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emsyolo.model.detector import Detector
from emsyolo.weights.bits import packed, unpacked
from emsyolo.weights.checkpoint import load_weights, read_weights, save_weights

CONFIG = {"config": {}, "class_names": ["a", "b", "c"], "dataset": "d", "model": "m"}


def test_eight_bits_are_a_whole_number_and_a_scale_per_channel() -> None:
    weight = torch.tensor([[254.0, -127.0, 1.2], [0.0, 0.0, 0.0]]).view(2, 3, 1, 1)
    state = {"conv.weight": weight, "norm.bias": torch.tensor([0.1]), "count": torch.tensor(3), "head.w": weight}
    stored = packed(state, 8)
    assert stored["conv.weight"].flatten().tolist() == [127, -64, 1, 0, 0, 0]  # 63.5 to even
    assert stored["conv.weight"].dtype == torch.int8
    assert stored["conv.weight@scale"].flatten().tolist() == [2.0, 1.0]
    assert stored["norm.bias"].dtype == torch.float32
    assert stored["head.w"].dtype == torch.float16
    back = unpacked(stored)
    assert back.keys() == state.keys()
    assert back["conv.weight"].flatten().tolist() == [254.0, -128.0, 2.0, 0, 0, 0]
    assert back["head.w"].dtype == torch.float32
    assert back["count"].item() == 3


def test_sixteen_bits_leave_what_is_too_large_for_them() -> None:
    stored = packed({"a": torch.tensor([1.0]), "b": torch.tensor([1e6])}, 16)
    assert (stored["a"].dtype, stored["b"].dtype) == (torch.float16, torch.float32)


def test_another_number_of_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="bits is 4; expected one of 32, 16, 8"):
        packed({}, 4)


def test_a_file_in_eight_bits_is_a_checkpoint_of_a_third_of_the_size(tiny_detector: Detector, tmp_path: Path) -> None:
    for bits in (32, 8):
        save_weights(tmp_path / f"{bits}.safetensors", tiny_detector, CONFIG, bits)
    sizes = [(tmp_path / f"{bits}.safetensors").stat().st_size for bits in (32, 8)]
    assert sizes[1] < sizes[0] / 3
    weights = read_weights(tmp_path / "8.safetensors")
    before = tiny_detector.backbone.stem[0].weight.detach().clone()
    load_weights(tiny_detector, weights)
    step = before.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    after = tiny_detector.backbone.stem[0].weight
    assert ((after - before).abs() <= step / 2 * 1.001).all()
    assert not torch.equal(after, before)
