"""The task of export.py."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from emsyolo.app.build import data_of, resolved
from emsyolo.app.checkpoint import find_checkpoint, trained_detector
from emsyolo.app.config import Asked, saved_config, with_checkpoint
from emsyolo.app.convert import conversion_config, converted
from emsyolo.convert.converter import is_conventional
from emsyolo.dataset.collate import collate
from emsyolo.deploy.export import DRAWS, NOISE, TOLERANCE, Agreement, Export, agreement, own_agreement
from emsyolo.deploy.unroll import unrolled
from emsyolo.model.detector import Detector
from emsyolo.report.card import model_card
from emsyolo.weights.checkpoint import MEASURED, Weights
from emsyolo.weights.zoo import beside

log = logging.getLogger(__name__)
IMAGES = 8  # on which an exported graph is compared


def export(asked: Asked) -> None:
    """Write a checkpoint in another form, and compare what it computes where that can be done here.

    Raises:
        ValueError: a network that the format cannot hold.
    """
    weights = find_checkpoint(asked)
    cfg = with_checkpoint(asked, weights)
    log.info("checkpoint %s (model %s)", weights.path, weights.config["model"])
    form: Export = instantiate(cfg.format)
    detector, config = trained_detector(cfg, weights), weights.config
    if cfg.convert and is_conventional(detector):
        settings, steps = instantiate(cfg.convert), cfg.T if asked.names("T") else cfg.convert.T
        detector, _ = converted(detector, data_of(cfg), settings, steps)
        config = conversion_config(weights, settings, steps)
    if cfg.unroll:
        if not form.needs_frames:
            raise ValueError("unroll=true: weights are stored as they were trained; expected format=onnx or nir")
        detector = unrolled(detector)
    out = Path(cfg.out or beside(weights.path))
    if out.suffix != form.suffix:
        out = out.with_name(f"{out.name}{form.suffix}")
    about = {
        "class_names": list(weights.config["class_names"]),
        "model": weights.config["model"],
        "T": detector.T,
        "size_hw": list(cfg.dataset.size_hw),
        "config": config,
    }
    frames = _frames(cfg) if form.needs_frames else torch.empty(0)
    try:
        written = form.write(detector, frames, out, about)
        _compare(form, written, detector, frames, cfg)
    except ModuleNotFoundError as error:
        raise ValueError(f"{out.name} needs {error.name}; pip install 'emsyolo[export]'") from error
    log.info("written: %s", ", ".join(map(str, written)))
    _card(out, weights)


def _card(out: Path, weights: Weights) -> None:
    """Write the model card, with the figures that the training measured where its folder is here."""
    measured = weights.path.resolve().parents[1] / "metrics.json"
    metrics = json.loads(measured.read_text(encoding="utf-8")) if measured.is_file() else weights.config.get(MEASURED)
    about = {**weights.config, "config": resolved(saved_config(weights))}
    log.info("written: %s", model_card(out, about, metrics, weights.path))


def _compare(form: Export, written: list[Path], detector: Detector, frames: Tensor, cfg: DictConfig) -> None:
    """Refuse files that find other boxes than the detector, whose normalisation is not folded as theirs is."""
    found = form.run(written, detector, frames)
    if not found:
        return
    with torch.no_grad():
        expected = detector.cpu().float().eval()(frames).candidates()
    postprocess = instantiate(cfg.postprocess)
    for path, candidates in found.items():
        one = agreement(candidates, expected, postprocess)
        log.info(
            "%s: run here, 999 of 1000 boxes are within %.2g px of the trained detector's (allowed: %g); %d of its %d "
            "detections are alike",
            path, one.apart, TOLERANCE, one.alike, one.detections,
        )  # fmt: skip
        if not one.near:
            _compare_with_rounding(path, one, *own_agreement(detector, frames, expected, postprocess))


def _compare_with_rounding(path: Path, one: Agreement, images: Agreement, detections: Agreement) -> None:
    """Refuse a file that is farther from the detector than rounding takes that from itself."""
    same = f"boxes of {one.same_images} of {one.images} images and {one.alike} of {one.detections} detections are alike"
    own = (
        f"of the detector itself, on frames that differ by {NOISE:g}, in {DRAWS} draws down to {images.same_images} "
        f"images and {detections.alike} detections"
    )
    if one.same_images < max(1, images.same_images) or one.alike < detections.alike:
        raise ValueError(f"{path}: {same}; expected no fewer than {own}")
    log.info("%s: %s; %s: its spikes round differently, so that no graph can be nearer", path, same, own)


def _frames(cfg: DictConfig) -> Tensor:
    """Frames `[T0, N, C, H, W]` in [0, 1]: of validation images, or, where the data set is not here, noise."""
    try:
        data = data_of(cfg)
        samples = [data.val[i] for i in range(min(IMAGES, len(data.val)))]
        return collate([data.fit(sample) for sample in samples]).frames.float() / 255
    except (OSError, ValueError) as error:
        log.info("no validation images (%s): the graph is compared on noise", str(error).splitlines()[0])
        torch.manual_seed(0)
        height, width = cfg.dataset.size_hw
        return torch.rand(cfg.dataset.get("steps", 1), IMAGES, cfg.model.in_channels, height, width)
