"""Which detector of the zoo predict.py takes where no checkpoint was typed and there is no run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from emsyolo.app.build import fit_of
from emsyolo.app.checkpoint import trained_detector, weights_in
from emsyolo.app.config import saved_config
from emsyolo.app.found import detect
from emsyolo.dataset.collate import collate
from emsyolo.device import device_of, named_device
from emsyolo.layer.statistics import strangeness
from emsyolo.types import Sample
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.zoo import in_zoo, zoo_names

TINY = 1e-6  # no picture is less strange
log = logging.getLogger(__name__)


def fitting(cfg: DictConfig, runs_dir: Path, pictures: Callable[[], Iterable[Sample]] | None) -> str | None:
    """The checkpoint `zoo:NAME` that fits a source best, which is said with the classes that it knows; None: none does.

    For events it is the network of events, for pictures that with the highest `fit_to_pictures` of the first of them.

    Args:
        cfg: of the task: its postprocess and device.
        runs_dir: where there is no run.
        pictures: reads the first pictures; None: the source is a recording of events.
    """
    found = {name: weights_in(in_zoo(name)) for name in zoo_names()}
    fits = {name: weights for name, weights in found.items() if _sees_events(weights) == (pictures is None)}
    if not fits:
        return None
    chosen, why = next(iter(fits)), "which sees events"
    if pictures is not None:
        seen = list(pictures())
        means = {name: fit_to_pictures(cfg, weights, seen) for name, weights in fits.items()}
        chosen, why = max(means, key=lambda name: means[name]), "which of the zoo fits these pictures best"
    others = [in_zoo(name) for name in fits if name != chosen]
    log.info(
        "no checkpoint typed and no run under %s: took %s, %s; it knows %s. Others: checkpoint=%s",
        runs_dir, in_zoo(chosen), why, ", ".join(found[chosen].config["class_names"]), "|".join([*others, "PATH"]),
    )  # fmt: skip
    return in_zoo(chosen)


def fit_to_pictures(cfg: DictConfig, weights: Weights, pictures: Sequence[Sample]) -> float:
    """How well a detector fits pictures: how sure it is of what it finds, over how strange they are to it; their mean.

    The sum of scores would favour networks that find much, and their mean alone those that see their classes in
    everything, as digits on playing cards.
    """
    saved = saved_config(weights)
    detector, fit = trained_detector(saved, weights).to(named_device(cfg.device)).eval(), fit_of(saved)
    postprocess, total = instantiate(cfg.postprocess), 0.0
    for picture in pictures:
        scores = detect(picture, detector, postprocess, fit).scores
        frames = collate([fit(picture)]).frames.to(device_of(detector))
        total += float(scores.mean()) / (strangeness(detector, frames) + TINY) if len(scores) else 0.0
    return total / max(1, len(pictures))


def _sees_events(weights: Weights) -> bool:
    return "representation" in saved_config(weights).dataset
