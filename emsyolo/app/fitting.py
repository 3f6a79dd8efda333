"""Which detector of the zoo predict.py takes where no checkpoint was typed and there is no run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from emsyolo.app.build import fit_of
from emsyolo.app.checkpoint import trained_detector, weights_in
from emsyolo.app.config import saved_config
from emsyolo.app.found import detect
from emsyolo.deploy.inference import for_inference
from emsyolo.device import named_device
from emsyolo.types import Sample
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.zoo import in_zoo, zoo_names

log = logging.getLogger(__name__)


def fitting(cfg: DictConfig, runs_dir: Path, first: Callable[[], Sample] | None) -> str:
    """The checkpoint `zoo:NAME` that fits a source best, which is said with the classes that it knows.

    For events it is the network of events; for pictures the one that is surest of what it sees in the first of them:
    whose detections have the largest sum of scores.

    Args:
        cfg: of the task: its postprocess and device.
        runs_dir: where there is no run.
        first: reads the first picture; None: the source is a recording of events.
    """
    wanted = first is None
    found = {name: weights for name in zoo_names() if _sees_events(weights := weights_in(in_zoo(name))) is wanted}
    if first is None:
        chosen, why = next(iter(found)), "which sees events"
    else:
        sample = first()
        scores = {name: score(cfg, weights, sample) for name, weights in found.items()}
        chosen, why = max(scores, key=lambda name: scores[name]), f"which of the zoo is surest of {sample.name}"
    others = [in_zoo(name) for name in found if name != chosen]
    log.info(
        "no checkpoint typed and no run under %s: took %s, %s; it knows %s. Others: checkpoint=%s",
        runs_dir, in_zoo(chosen), why, ", ".join(found[chosen].config["class_names"]), "|".join([*others, "PATH"]),
    )  # fmt: skip
    return in_zoo(chosen)


def score(cfg: DictConfig, weights: Weights, sample: Sample) -> float:
    """How sure a detector is of a picture: the sum of its detections' scores."""
    saved = saved_config(weights)
    detector = for_inference(trained_detector(saved, weights), named_device(cfg.device))
    return float(detect(sample, detector, instantiate(cfg.postprocess), fit_of(saved)).scores.sum())


def _sees_events(weights: Weights) -> bool:
    return "representation" in saved_config(weights).dataset
