"""The program for ONNX Runtime finds what this package finds in the same outputs."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from pages import ROOT
from torchvision.io import write_png

from emsyolo.app import load_detector
from emsyolo.dataset.augment import Letterbox
from emsyolo.deploy.onnx import Onnx
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Candidates, Sample, Targets


@pytest.mark.slow
def test_the_program_letterboxes_and_suppresses_as_this_package_does(work: Path) -> None:
    detector, names = load_detector("PATH.safetensors")
    image = torch.randint(0, 256, (3, 48, 96), dtype=torch.uint8)  # of the network's width: it is padded, not scaled
    write_png(image, "wide.png")
    sample = Letterbox((64, 96))(Sample(image[None], Targets.none(), 0, "wide", (48, 96)))
    frames = sample.frames[:, None] / 255
    Onnx(step=False).write(detector, frames, Path("net.onnx"), {"class_names": names, "size_hw": [64, 96]})
    boxes, scores = onnxruntime.InferenceSession("net.onnx").run(None, {"frames": frames[0].numpy()})
    confidence = float(np.sort(scores, axis=None)[-40:].mean())  # some boxes, however little the network has learnt

    program = runpy.run_path(str(ROOT / "examples" / "run_onnx.py"))
    program["detect"].__globals__["CONFIDENCE"] = confidence
    found = program["detect"]("net.onnx", "wide.png")

    candidates = Candidates(torch.from_numpy(boxes), torch.from_numpy(scores))
    expected = Postprocess(confidence=confidence, iou=program["IOU"]).select(candidates)[0].to_original(sample)
    assert len(found) > 0
    assert [name for name, _, _ in found] == [names[label] for label in expected.labels.tolist()]
    np.testing.assert_allclose([score for _, score, _ in found], expected.scores.numpy(), atol=1e-6)
    np.testing.assert_allclose([box for _, _, box in found], expected.boxes_xyxy.numpy(), atol=1e-3)
