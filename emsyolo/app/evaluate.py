"""The task of evaluate.py."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.build import data_of, detector_of, device_of
from emsyolo.app.checkpoint import find_checkpoint
from emsyolo.app.config import FROM_CHECKPOINT, typed_groups, with_checkpoint
from emsyolo.app.convert import measure_conversion
from emsyolo.app.folder import new_folder
from emsyolo.app.measure import measure
from emsyolo.convert.converter import is_conventional
from emsyolo.convert.simulate import checked_times
from emsyolo.deploy.inference import for_inference
from emsyolo.report.page import page
from emsyolo.weights.checkpoint import load_weights

EXTREMES = 8  # best and worst images in a report
log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Measure a checkpoint on the validation set; files go to `runs/<dataset>/<model>/<time>/`.

    Returns:
        What is written to `metrics.json`.

    Raises:
        ValueError: the data set's classes are not those that the checkpoint was trained on.
    """
    weights = find_checkpoint(cfg)
    cfg = with_checkpoint(cfg, weights, (*FROM_CHECKPOINT, "postprocess"))
    log.info(
        "checkpoint %s (model %s, trained on %s)", weights.path, weights.config["model"], weights.config["dataset"]
    )
    data = data_of(cfg)
    if list(data.class_names) != list(weights.config["class_names"]):
        raise ValueError(
            f"dataset {data.name} has the classes {list(data.class_names)}, the checkpoint {weights.path} was trained "
            f"on {weights.config['class_names']}; evaluate it on a data set with the same classes"
        )
    if data.val.channels != cfg.model.in_channels:
        raise ValueError(
            f"frames of dataset {data.name} have {data.val.channels} channels, the checkpoint {weights.path} was "
            f"trained on {cfg.model.in_channels}; type the protocol that it was trained with"
        )
    times = list(cfg.T) if OmegaConf.is_list(cfg.T) else [cfg.T]
    asked = bool(typed_groups() & {"T", "convert"})
    if OmegaConf.is_list(cfg.T):
        cfg.T = 1  # an ANN's own
    detector = detector_of(cfg)
    load_weights(detector, weights)
    device = device_of(cfg.device)
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        out = Path(hydra_config.runtime.output_dir)
    else:
        parent = Path(cfg.runs_dir) / data.name / weights.config["model"]
        out = new_folder(parent, time.strftime("%Y-%m-%d_%H-%M-%S"))
    out.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, out / "config.yaml")
    postprocess = instantiate(cfg.postprocess)
    facts = {"checkpoint": str(weights.path), "dataset": data.name, "model": weights.config["model"]}
    shared: dict[str, Any] = {"out": out, "facts": facts, "score_threshold": cfg.score_threshold, **cfg.energy}
    shared["extremes"] = EXTREMES if cfg.report else 0
    if asked and is_conventional(detector):
        settings = instantiate(cfg.convert)
        metrics = measure_conversion(detector.to(device), data, postprocess, settings, times, **shared)
    else:
        if len(times) > 1:
            times = checked_times(times)
            detector.T = times[-1]
        ready = for_inference(detector, device, precision=cfg.precision)
        metrics = measure(
            ready, data, postprocess, sheet_images=cfg.sheet_images, compiled=cfg.compile,
            times=times[:-1], **shared,
        )  # fmt: skip
    if cfg.report:
        log.info("written: %s", page(out))
    return metrics
