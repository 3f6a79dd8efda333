"""The scripts' tasks from Python, as in a notebook."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import open_dict

from emsyolo.app.checkpoint import trained_detector, weights_in
from emsyolo.app.config import Asked, saved_config
from emsyolo.app.evaluate import evaluate
from emsyolo.app.export import export
from emsyolo.app.folder import conf_dir
from emsyolo.app.predict import predict
from emsyolo.app.runs import forget_run_folder
from emsyolo.app.train import train
from emsyolo.model.detector import Detector

TASKS = {"train": train, "evaluate": evaluate, "predict": predict, "export": export}


def call(task: str, *overrides: str) -> Mapping[str, Any]:
    """Do what a script does: `call("train", "model=ems_small", "trainer.max_epochs=3")`.

    Args:
        task: `train`, `evaluate`, `predict` or `export`.
        overrides: as on the command line, without shell quotes; no multirun.

    Returns:
        What is written to `metrics.json`; nothing for predict and export.

    Raises:
        ValueError: an unknown task, or input that the task refuses.
        hydra.errors.HydraException: a config or key that does not exist.
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; expected one of {', '.join(TASKS)}")
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    GlobalHydra.instance().clear()
    forget_run_folder()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(task, overrides=list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.mode = RunMode.RUN
        cfg.hydra.job.num = 0
        cfg.hydra.runtime.output_dir = cfg.hydra.run.dir
    Path(cfg.hydra.runtime.output_dir).mkdir(parents=True, exist_ok=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return TASKS[task](Asked.of_hydra(cfg)) or {}


def load_detector(checkpoint: str | Path) -> tuple[Detector, list[str]]:
    """A trained detector, in evaluation mode on the CPU, and the names of its classes.

    Args:
        checkpoint: a `.ckpt` or `.safetensors`, darknet's `.weights`, or `zoo:NAME`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut off, or is not one of emsyolo's.
    """
    weights = weights_in(checkpoint)
    return trained_detector(saved_config(weights), weights).eval(), list(weights.config["class_names"])
