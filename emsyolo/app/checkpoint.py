"""The weights that a task was asked for, and the detector in them."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from emsyolo.app.build import detector_of
from emsyolo.app.config import Asked, newest_run
from emsyolo.app.darknet import darknet_checkpoint
from emsyolo.convert.converter import Conversion, converted_like
from emsyolo.model.detector import Detector
from emsyolo.weights import BEST
from emsyolo.weights.checkpoint import Weights, load_weights, read_weights


def find_checkpoint(asked: Asked) -> Weights:
    """What `checkpoint=` names (ours, or darknet's `.weights`), or the best of the newest run that fits.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file that is no checkpoint.
    """
    cfg = asked.cfg
    if cfg.checkpoint is None:
        return read_weights(newest_run(Path(cfg.runs_dir), cfg.dataset.name, asked.choice("model"), BEST))
    path = Path(cfg.checkpoint)
    return darknet_checkpoint(path) if path.suffix == ".weights" else read_weights(path)


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
