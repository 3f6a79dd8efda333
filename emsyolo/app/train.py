"""The task of train.py."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.build import data_of, detector_of, device_of, fit_to_data, plain
from emsyolo.app.config import overlay, resumed_checkpoint, saved_config
from emsyolo.app.measure import measure
from emsyolo.dataset.datamodule import DataModule
from emsyolo.deploy.inference import for_inference
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.neuron.memory import set_memory
from emsyolo.report.curves import training_curves
from emsyolo.trainer.fit import BEST, LAST, fit
from emsyolo.trainer.module import DetectionModule
from emsyolo.weights.checkpoint import load_weights, read_weights, save_weights

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, Any]:
    """Train, measure the best weights, and write both into the run's folder.

    Returns:
        What is written to `metrics.json`; nothing in all processes but the first.
    """
    choices = HydraConfig.get().runtime.choices
    out = Path(HydraConfig.get().runtime.output_dir)
    first = getattr(rank_zero_only, "rank", 0) == 0
    if not first:  # of several processes one speaks and writes
        logging.getLogger().setLevel(logging.WARNING)
    resume = None
    facts: dict[str, Any] = {"dataset": choices["dataset"], "model": choices["model"]}
    if cfg.resume is not None:
        resume = resumed_checkpoint(Path(cfg.runs_dir), cfg.resume, facts["dataset"], facts["model"])
        weights = read_weights(resume)
        cfg = overlay(saved_config(weights), cfg)
        facts = {key: weights.config[key] for key in facts}
        log.info("going on with %s", resume)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data = data_of(cfg)
    fit_to_data(cfg, data)
    if first:
        OmegaConf.save(cfg, out / "config.yaml")
    module = _module(cfg)
    if cfg.weights is not None and resume is None:
        load_weights(module.detector, read_weights(Path(cfg.weights)))
    if first:
        _announce(cfg, data, module, out)

    hyperparameters = {"config": plain(cfg), "class_names": list(data.class_names), **facts}
    postprocess = instantiate(cfg.postprocess)
    truth = data.val.truth()
    trainer = instantiate(cfg.trainer, _convert_="all")(
        run_dir=out,
        hyperparameters=hyperparameters,
        evaluator=lambda: CocoEvaluator(truth, data.class_names, data.box_filter),
        postprocess=postprocess,
    )
    began = time.monotonic()
    fit(trainer, module, data, resume)
    facts["training_s"] = round(time.monotonic() - began, 1)
    if not trainer.is_global_zero:
        return {}
    return _finish(cfg, data, module, out, hyperparameters, facts)


def _module(cfg: DictConfig) -> DetectionModule:
    detector = detector_of(cfg)
    set_memory(detector, cfg.memory)
    return DetectionModule(detector, instantiate(cfg.loss), instantiate(cfg.optimizer, _convert_="all"))


def _announce(cfg: DictConfig, data: DataModule, module: DetectionModule, out: Path) -> None:
    parameters = sum(p.numel() for p in module.detector.parameters())
    log.info(
        "%s: %d training and %d validation images, %d classes, %dx%d px (HxW), batch %d",
        data.name, len(data.train), len(data.val), len(data.class_names), *data.size_hw, data.batch_size,
    )  # fmt: skip
    log.info(
        "detector: %s parameters, T=%d; seed %d; run folder %s", f"{parameters:,}", module.detector.T, cfg.seed, out
    )


def _finish(
    cfg: DictConfig,
    data: DataModule,
    module: DetectionModule,
    out: Path,
    hyperparameters: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Measure the best checkpoint, write it as safetensors, and draw the curves."""
    best = out / "checkpoints" / BEST
    if not best.exists():  # a training cut short before its first validation
        best = out / "checkpoints" / LAST
    detector = module.detector
    if best.exists():
        load_weights(detector, read_weights(best))
    shared = best.with_suffix(".safetensors")
    save_weights(shared, detector, hyperparameters)
    if (out / "metrics.csv").exists():
        training_curves(out / "training.png", out / "metrics.csv")
    return measure(
        for_inference(detector, device_of("auto")),
        data,
        instantiate(cfg.postprocess),
        out=out,
        facts={"checkpoint": str(shared), **facts},
        **cfg.energy,
    )
