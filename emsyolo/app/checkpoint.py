"""The weights that a task was asked for, and the detector in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from emsyolo.app.build import detector_of
from emsyolo.app.config import Asked, saved_config
from emsyolo.app.darknet import darknet_checkpoint
from emsyolo.app.runs import newest_run
from emsyolo.convert.converter import Conversion, converted_like
from emsyolo.model.detector import Detector
from emsyolo.weights import BEST
from emsyolo.weights.checkpoint import Weights, load_weights, read_weights
from emsyolo.weights.zoo import checkpoint_path


def find_checkpoint(asked: Asked, otherwise: Callable[[], str | None] | None = None) -> Weights:
    """What `checkpoint=` names (see `weights_in`), or the best of the newest run that fits.

    Args:
        asked: of a task.
        otherwise: names a checkpoint, if it has one, where there is no run and neither data set nor model was typed;
            `checkpoint` of the task's config is that from then on.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file that is no checkpoint.
    """
    cfg = asked.cfg
    if cfg.checkpoint is None:
        dataset = cfg.dataset.name if asked.choice("dataset") or asked.names("dataset.name") else None
        try:
            return read_weights(newest_run(Path(cfg.runs_dir), dataset, asked.choice("model"), BEST))
        except FileNotFoundError:
            named = None if otherwise is None or dataset is not None or asked.names("model") else otherwise()
            if named is None:
                raise
            cfg.checkpoint = named
    return weights_in(cfg.checkpoint)


def weights_in(named: str | Path) -> Weights:
    """The weights of a checkpoint: a file of ours, darknet's `.weights`, or `zoo:NAME`.

    Raises:
        FileNotFoundError: it, or what must lie beside it, is not there.
        ValueError: a file that is no checkpoint.
    """
    path = checkpoint_path(named)
    return darknet_checkpoint(path) if path.suffix == ".weights" else read_weights(path)


def fit_to_weights(cfg: DictConfig, weights: Weights) -> None:
    """Fill in what a model's config leaves open, from the weights of one of its kind that a training begins with."""
    theirs = saved_config(weights).model
    if cfg.model._target_ == theirs._target_:
        for key in [key for key in cfg.model if OmegaConf.is_missing(cfg.model, key)]:
            cfg.model[key] = theirs[key]


def trained_detector(cfg: DictConfig, weights: Weights) -> Detector:
    """The detector of a config, filled with weights; of converted ones the spiking network, for `cfg.T` steps.

    Raises:
        ValueError: weights of another architecture, or of a conversion that is not one of emsyolo's.
    """
    detector = detector_of(cfg)
    if weights.conversion is not None:
        try:
            settings = Conversion(**weights.conversion)
        except TypeError as error:
            raise ValueError(f"checkpoint {weights.path}: its conversion cannot be read ({error})") from error
        detector = converted_like(detector, settings, weights.state)
        detector.T = cfg.T
    load_weights(detector, weights)
    return detector
