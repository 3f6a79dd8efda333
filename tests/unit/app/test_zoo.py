"""The trained detectors that come with the package."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png
from torchvision.ops import box_iou

from emsyolo.app import call, load_detector
from emsyolo.app.checkpoint import weights_in
from emsyolo.app.zoo import absolute_paths, portable, table
from emsyolo.dataset.digits import scene_at
from emsyolo.model.postprocess import Postprocess
from emsyolo.weights.zoo import ZOO, beside, checkpoint_path, zoo_names

ROOT = Path(__file__).resolve().parents[3]
LARGEST_BYTES = 4_000_000


def test_the_page_says_what_the_files_say() -> None:
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == table()


@pytest.mark.parametrize("name", zoo_names())
def test_a_detector_of_the_zoo_is_small_and_knows_nothing_of_the_machine_that_trained_it(name: str) -> None:
    weights = weights_in(f"zoo:{name}")
    assert weights.path.stat().st_size <= LARGEST_BYTES
    assert absolute_paths(weights.config) == []
    card = weights.path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"checkpoint=zoo:{name}" in card
    assert "not stated" not in card
    assert not any(word.startswith("/") for word in card.split() if word != "/")
    detector, class_names = load_detector(f"zoo:{name}")
    assert list(weights.config["measured"]["per_class"]) == class_names
    assert all(parameter.dtype == torch.float32 for parameter in detector.parameters())


def test_the_digits_of_a_scene_are_found() -> None:
    """Of a scene that no training has seen, with the boxes that it was drawn with."""
    detector, class_names = load_detector("zoo:digits")
    found_of = {}
    scenes = [scene_at(i, "test") for i in range(4)]
    for scene in scenes:
        frames = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None, None].repeat_interleave(2, 3)
        with torch.inference_mode():
            (found,) = Postprocess(confidence=0.25)(detector(frames.repeat_interleave(2, 4)))
        truth = 2 * torch.from_numpy(scene.boxes_xyxy).float()
        near = (box_iou(truth, found.boxes_xyxy) > 0.5) & (
            torch.from_numpy(scene.digits)[:, None] == found.labels.cpu()
        )
        found_of[id(scene)] = int(near.any(dim=1).sum())
    assert class_names == [str(digit) for digit in range(10)]
    assert sum(found_of.values()) >= 0.9 * sum(len(scene.digits) for scene in scenes)


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"zoo:dogs: the zoo has no such network; expected one of zoo:\w+, zoo"):
        weights_in("zoo:dogs")


def test_what_is_made_of_the_zoo_goes_into_the_working_folder() -> None:
    assert checkpoint_path("zoo:digits") == ZOO / "digits.safetensors"
    assert beside(ZOO / "digits.safetensors") == Path("digits")
    assert beside(Path("run/best.ckpt")) == Path("run/best")


def test_a_config_is_made_portable() -> None:
    usual = {"data_dir": "data", "runs_dir": "runs", "dataset": {"root": "${data_dir}/x"}, "weights": None}
    typed = {"data_dir": "/home/me", "runs_dir": "r", "dataset": {"root": "/d", "limit": 3}, "weights": "/w.ckpt"}
    assert portable(typed, usual) == {
        "data_dir": "data", "runs_dir": "runs", "dataset": {"root": "${data_dir}/x", "limit": 3}, "weights": None,
        "teacher": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"config\.dataset\.train\.images\[0\]=C:\\pictures: absolute paths"):
        portable({**typed, "dataset": {"train": {"images": ["C:\\pictures"]}}}, usual)


def test_pictures_are_looked_at_without_any_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_png(torch.from_numpy(scene_at(0, "test").image.transpose(2, 0, 1).copy()), str(tmp_path / "scene.png"))
    typed = [f"source={tmp_path}/scene.png", f"runs_dir={tmp_path}/runs", f"out={tmp_path}/out"]
    with caplog.at_level(logging.INFO):
        call("predict", *typed)
    (line,) = [record.getMessage() for record in caplog.records if "no checkpoint typed" in record.getMessage()]
    assert "took zoo:digits, which of the zoo fits these pictures best; it knows 0, 1, 2" in line
    assert "checkpoint=zoo:" in line
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    with pytest.raises(FileNotFoundError, match="no run with model=ems_small"):
        call("predict", *typed, "model=ems_small")
