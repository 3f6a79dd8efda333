"""The weights that a task was asked for."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from emsyolo.app.config import newest_run, typed_choice
from emsyolo.app.darknet import darknet_checkpoint
from emsyolo.trainer.fit import BEST
from emsyolo.weights.checkpoint import Weights, read_weights


def find_checkpoint(cfg: DictConfig) -> Weights:
    """What `checkpoint=` names (ours, or darknet's `.weights`), or the best of the newest run that fits.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file that is no checkpoint.
    """
    if cfg.checkpoint is None:
        dataset = HydraConfig.get().runtime.choices["dataset"]
        return read_weights(newest_run(Path(cfg.runs_dir), dataset, typed_choice("model"), BEST))
    path = Path(cfg.checkpoint)
    return darknet_checkpoint(path) if path.suffix == ".weights" else read_weights(path)
