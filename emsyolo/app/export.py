"""The task of export.py."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from emsyolo.app.build import data_of, detector_of, resolved
from emsyolo.app.checkpoint import find_checkpoint
from emsyolo.app.config import saved_config, with_checkpoint
from emsyolo.dataset.datamodule import collate
from emsyolo.deploy import nir, onnx
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.lif import LIF
from emsyolo.report.card import model_card
from emsyolo.types import Sample
from emsyolo.weights.checkpoint import Weights, load_weights, save_weights

log = logging.getLogger(__name__)
FORMATS = ("onnx", "nir", "safetensors")
IMAGES = 4  # on which the exported graph is compared
TOLERANCE = 1e-2  # px, or shares of 1
ALIKE = 0.99  # of the detections


def export(cfg: DictConfig) -> None:
    """Write a checkpoint in another form, and compare what it computes where that can be done here.

    Raises:
        ValueError: an unknown format, or a network that it cannot hold.
    """
    if cfg.format not in FORMATS:
        raise ValueError(f"format is {cfg.format!r}; expected one of {', '.join(FORMATS)}")
    weights = find_checkpoint(cfg)
    cfg = with_checkpoint(cfg, weights)
    log.info("checkpoint %s (model %s)", weights.path, weights.config["model"])
    detector = detector_of(cfg)
    load_weights(detector, weights)
    out = Path(cfg.out or weights.path.with_suffix(""))
    if out.suffix != f".{cfg.format}":
        out = out.with_name(f"{out.name}.{cfg.format}")
    if cfg.format == "safetensors":
        save_weights(out, detector, weights.config)
        log.info("written: %s (weights and config)", out)
        _card(out, weights)
        return
    try:
        frames = _frames(cfg)
        if cfg.format == "nir":
            size = (frames.shape[2], frames.shape[3], frames.shape[4])
            last = nir.export_nir(detector, size, out, part=cfg.part, dt=cfg.dt)
            log.info("written: %s (up to %s; one step is %g s)", out, last, cfg.dt)
        else:
            _onnx(detector, frames, instantiate(cfg.postprocess), out, _about(cfg, weights, detector))
    except ModuleNotFoundError as error:
        raise ValueError(f"format={cfg.format} needs {error.name}; pip install 'emsyolo[export]'") from error
    _card(out, weights)


def _card(out: Path, weights: Weights) -> None:
    """Write the model card, with the figures that the training measured where its folder is here."""
    measured = weights.path.resolve().parents[1] / "metrics.json"
    metrics = json.loads(measured.read_text(encoding="utf-8")) if measured.is_file() else None
    about = {**weights.config, "config": resolved(saved_config(weights))}
    log.info("written: %s", model_card(out, about, metrics))


def _onnx(detector: Detector, frames: Tensor, postprocess: Postprocess, out: Path, about: dict[str, Any]) -> None:
    onnx.export_whole(detector, frames, out, about)
    step = None
    if any(isinstance(one, LIF) for one in detector.modules()):
        step = out.with_suffix(".step.onnx")
        onnx.export_step(detector, frames[0], step, about)
    for name, one in onnx.compare(detector, frames, postprocess, out, step).items():
        path = out if name == "whole" else step
        log.info(
            "%s: in ONNX Runtime 999 of 1000 boxes are within %.2g px of the trained detector's (allowed: %g); %d of "
            "its %d detections are alike",
            path, one.apart, TOLERANCE, one.alike, one.detections,
        )  # fmt: skip
        if one.apart > TOLERANCE or one.alike < ALIKE * one.detections:
            raise ValueError(
                f"{path}: ONNX Runtime's boxes differ by {one.apart:.2g} px, {one.alike} of {one.detections} "
                f"detections are alike; expected at most {TOLERANCE} px, and {ALIKE:.0%} of the detections"
            )
    log.info("written: %s", ", ".join(str(path) for path in (out, step) if path))


def _frames(cfg: DictConfig) -> Tensor:
    """Frames `[T0, N, C, H, W]` in [0, 1]: of validation images, or, where the data set is not here, noise."""
    try:
        data = data_of(cfg)
        samples = [data.val[i] for i in range(min(IMAGES, len(data.val)))]
        return collate([data.fit(one, partial(_alone, one)) for one in samples]).frames.float() / 255
    except (OSError, ValueError) as error:
        log.info("no validation images (%s): the graph is compared on noise", str(error).splitlines()[0])
        torch.manual_seed(0)
        height, width = cfg.dataset.size_hw
        return torch.rand(cfg.dataset.get("steps", 1), IMAGES, cfg.model.in_channels, height, width)


def _alone(sample: Sample) -> Sample:
    return sample


def _about(cfg: DictConfig, weights: Weights, detector: Detector) -> dict[str, Any]:
    return {
        "class_names": list(weights.config["class_names"]),
        "model": weights.config["model"],
        "T": detector.T,
        "size_hw": list(cfg.dataset.size_hw),
        "strides": list(detector.head.strides),
        "anchors": detector.head.anchors.tolist(),
        "decoding": detector.head.decoding.__name__,
        "frames": "RGB or event frames in [0, 1]",
        "boxes": "centre x, centre y, width, height in px; objectness; classes",
    }
