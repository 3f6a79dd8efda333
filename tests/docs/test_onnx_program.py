"""The program for ONNX Runtime letterboxes and suppresses as this package does; the network is a made one."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from pages import ROOT
from torchvision.io import write_png

from emsyolo.dataset.augment import Letterbox
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Candidates, Sample, Targets

SIZE_HW, NAMES = (64, 96), ["cat", "dog"]


@pytest.fixture
def program() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "run_onnx.py"))


def write_network(path: Path, boxes: torch.Tensor, scores: torch.Tensor) -> None:
    """A graph that finds the same in every image."""
    outputs = {"boxes": boxes.numpy(), "scores": scores.numpy()}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in outputs.items()
    ]
    given = [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["N", 3, *SIZE_HW])]
    found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in outputs.items()]
    model = helper.make_model(helper.make_graph(constants, "made", given, found), ir_version=9)
    helper.set_model_props(model, {"emsyolo": json.dumps({"class_names": NAMES, "size_hw": SIZE_HW})})
    onnx.save(model, path)


def test_it_suppresses_and_scales_back_as_this_package_does(program: dict[str, Any], tmp_path: Path) -> None:
    corners = torch.rand(1, 40, 2) * 40
    boxes = torch.cat([corners, corners + 5 + torch.rand(1, 40, 2) * 40], dim=2)
    scores = torch.rand(1, 40, 2)
    write_network(tmp_path / "net.onnx", boxes, scores)
    write_png(torch.zeros(3, 96, 192, dtype=torch.uint8), str(tmp_path / "wide.png"))  # halved, and padded to 64 rows
    found = program["detect"](str(tmp_path / "net.onnx"), str(tmp_path / "wide.png"))

    sample = Letterbox(SIZE_HW)(Sample(torch.zeros(1, 3, 96, 192, dtype=torch.uint8), Targets.none(), 0, "", (96, 192)))
    postprocess = Postprocess(confidence=program["CONFIDENCE"], iou=program["IOU"])
    expected = postprocess.select(Candidates(boxes, scores))[0].to_original(sample)
    assert 2 < len(found) < 60
    assert [name for name, _, _ in found] == [NAMES[label] for label in expected.labels.tolist()]
    np.testing.assert_allclose([score for _, score, _ in found], expected.scores.numpy(), rtol=1e-6)
    np.testing.assert_allclose([box for _, _, box in found], expected.boxes_xyxy.numpy(), atol=1e-3)


def test_its_letterbox_is_that_of_training(program: dict[str, Any]) -> None:
    image = torch.randint(0, 256, (3, 48, 96), dtype=torch.uint8)  # of the network's width: it is padded, not scaled
    picture = program["Image"].fromarray(image.permute(1, 2, 0).numpy())
    frame, scale, offset = program["letterbox"](picture, SIZE_HW)
    sample = Letterbox(SIZE_HW)(Sample(image[None], Targets.none(), 0, "", (48, 96)))
    np.testing.assert_array_equal((frame[0] * 255).round(), sample.frames[0].numpy())
    assert (scale, offset) == (sample.scale_wh[0], sample.offset_xy)
