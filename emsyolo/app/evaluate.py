"""The task of evaluate.py."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.along import Along
from emsyolo.app.build import data_of
from emsyolo.app.checkpoint import find_checkpoint, trained_detector
from emsyolo.app.config import FROM_CHECKPOINT, Asked, compose_config, with_checkpoint
from emsyolo.app.convert import converted, error_report, save_converted
from emsyolo.app.folder import new_folder
from emsyolo.app.measure import Energy, measure
from emsyolo.app.passes import Direct, Passes, Simulated
from emsyolo.app.sheets import Drawing
from emsyolo.convert.converter import is_conventional
from emsyolo.dataset.datamodule import DataModule
from emsyolo.deploy.inference import for_inference, quicken
from emsyolo.device import named_device
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import Weights

EXTREMES = 8  # best and worst images in a report
log = logging.getLogger(__name__)


def evaluate(asked: Asked) -> dict[str, Any]:
    """Measure a checkpoint on the validation set; files go to `runs/<dataset>/<model>/<time>/`.

    Returns:
        What is written to `metrics.json`.

    Raises:
        ValueError: the data set's classes are not those that the checkpoint was trained on.
    """
    weights = find_checkpoint(asked)
    cfg = with_checkpoint(asked, weights, (*FROM_CHECKPOINT, "postprocess", "convert"))
    if not asked.names("convert") and "convert" not in weights.config["config"]:
        cfg.convert = _usual_conversion(weights)
    log.info(
        "checkpoint %s (model %s, trained on %s)", weights.path, weights.config["model"], weights.config["dataset"]
    )
    if OmegaConf.is_list(cfg.T):
        raise ValueError(f"T={list(cfg.T)}: expected a number; for several type T={max(cfg.T)} read_out={list(cfg.T)}")
    data = data_of(cfg)
    _check_data(data, cfg, weights)
    detector = trained_detector(cfg, weights)
    if asked.sweep:
        out = asked.out
    else:
        parent = Path(cfg.runs_dir) / data.name / weights.config["model"]
        out = new_folder(parent, time.strftime("%Y-%m-%d_%H-%M-%S"))
    out.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, out / "config.yaml")
    facts: dict[str, Any] = {"checkpoint": str(weights.path), "dataset": data.name, "model": weights.config["model"]}
    detector.to(named_device(cfg.device))
    passes: Passes
    if cfg.convert and is_conventional(detector):
        steps = cfg.T if asked.names("T") else cfg.convert.T
        passes, more = _conversion(detector, data, cfg, steps, weights, out)
        facts |= more
    elif detector.chunk is not None:
        passes = Simulated(detector.eval(), cfg.read_out)
    else:
        ready = for_inference(detector, named_device(cfg.device), precision=cfg.precision, unroll=cfg.unroll)
        quicken(ready, cfg.compile)
        passes = Direct(ready, cfg.read_out)
    if cfg.stream and not isinstance(passes, Direct):
        raise ValueError("stream=true: a converted network answers after many steps; expected a directly trained one")
    drawing = Drawing(cfg.score_threshold, cfg.sheet_images, EXTREMES if cfg.report else 0, cfg.pictures)
    postprocess = instantiate(cfg.postprocess)
    along = Along(passes.detector, data, postprocess, [] if cfg.report else None) if cfg.stream else None
    return measure(
        passes, data, postprocess, out=out, facts=facts, energy=Energy(**cfg.energy), drawing=drawing, along=along,
        run=_training_of(weights.path), speed_s=cfg.speed_s,
    )  # fmt: skip


def _training_of(checkpoint: Path) -> Path | None:
    """The folder of the training that a checkpoint lies in; None: it lies elsewhere."""
    folder = checkpoint.parent.parent
    return folder if (folder / "metrics.csv").is_file() else None


def _check_data(data: DataModule, cfg: DictConfig, weights: Weights) -> None:
    """Refuse data that the network does not understand."""
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


def _usual_conversion(weights: Weights) -> DictConfig:
    """How networks of a checkpoint's kind are converted, for checkpoints that were written before it stood in them."""
    try:
        conversion: DictConfig = compose_config("evaluate", [f"model={weights.config['model']}"]).convert
    except HydraException:  # a model of the user's own
        return OmegaConf.create({})
    return conversion


def _conversion(
    ann: Detector, data: DataModule, cfg: DictConfig, T: int, weights: Weights, out: Path
) -> tuple[Simulated, dict[str, Any]]:
    """The converted network, which is saved, and what `metrics.json` says of the conversion."""
    settings = instantiate(cfg.convert)
    spiking, frames = converted(ann, data, settings, T)
    path = out / "converted.safetensors"
    save_converted(path, spiking, weights, settings)
    log.info("converted (%s, T=%d); written: %s", settings.rule, T, path)
    facts: dict[str, Any] = {"convert": asdict(settings), "parameters": sum(p.numel() for p in ann.parameters())}
    if settings.report:
        facts["errors"] = error_report(spiking, ann, frames[0], out)
    return Simulated(spiking, cfg.read_out, ann), facts
