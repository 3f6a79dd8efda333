"""The model card beside a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emsyolo.app.build import resolved
from emsyolo.app.config import compose_config
from emsyolo.report.card import model_card


def about(*overrides: str) -> dict[str, Any]:
    cfg = compose_config("train", ["model=ems_small", "model.num_classes=2", *overrides])
    return {"config": resolved(cfg), "class_names": ["a|b", "c"], "dataset": "digits", "model": "ems_small"}


def test_says_what_it_was_made_of(tmp_path: Path) -> None:
    metrics: dict[str, Any] = {
        "images": 7, "mAP": 0.5, "mAP50": 0.75, "T": 2, "parameters": 1_870_000, "firing_rate": 0.125,
        "energy": {"snn_mJ": 0.25, "ratio": 0.5}, "impure": [{"name": "stem", "macs": 10}],
        "layers": [{"macs": 10}, {"macs": 30}], "per_class": {"a|b": 0.5, "c": None},
        "by_T": {"1": {"mAP": 0.25, "mAP50": 0.5}, "2": {"mAP": 0.5, "mAP50": 0.75}},
    }  # fmt: skip
    path = model_card(tmp_path / "best.safetensors", about("+dataset.augment.flip=null"), metrics)
    assert path == tmp_path / "best.md"
    text = path.read_text()
    for line in (
        "- licence of the data: CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits, as in scikit-learn)",
        "- neuron: LIF (decay 0.25, v_threshold 0.5, surrogate_width 1.0, ",
        "- augmentation: affine, hsv",
        "- energy per image: 0.2500 mJ, 50.00% of the same ANN's",
        "- spike purity: 1 of 2 convolutions are fed by 0 and 1 only; the others have 25.00% of the MACs: stem",
        "| 1 | 0.5000 | 0.2500 |",
        "| a\\|b | 0.5000 |",
        "| c | - |",
    ):
        assert line in text, text


def test_without_figures_it_says_so(tmp_path: Path) -> None:
    text = model_card(tmp_path / "a.onnx", about("dataset=yolo_txt", "model=ann_small"), None).read_text()
    assert "Not measured." in text
    assert "- licence of the data: not stated" in text
    assert "without spikes" in text
