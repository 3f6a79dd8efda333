"""From a config to objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.config import compose_config
from emsyolo.dataset.augment import Fit
from emsyolo.dataset.datamodule import DataModule, fit_to
from emsyolo.dataset.event.framing import Framing
from emsyolo.geometry.anchors import kmeans_anchors, shape_iou
from emsyolo.model.detector import Detector

log = logging.getLogger(__name__)


def data_of(cfg: DictConfig) -> DataModule:
    """The data set of a config.

    Raises:
        ValueError: a protocol of event cameras for still images.
    """
    if "window_us" in cfg.dataset and "sensor_hw" not in cfg.dataset:
        raise ValueError(f"protocol= is for recordings of event cameras; dataset={cfg.dataset.name} has still images")
    return instantiate(cfg.dataset, _convert_="all")


def fit_of(cfg: DictConfig) -> Fit:
    """What brings a sample to the size of the network's input, without opening the data set."""
    given = {key: cfg.dataset[key] for key in ("fit", "stride") if key in cfg.dataset}
    return fit_to(list(cfg.dataset.size_hw), **instantiate(given, _convert_="all"))


def framing_of(cfg: DictConfig) -> Framing:
    """How events become frames, without opening the data set."""
    keys = ("representation", "steps", "window_us", "frame_hw")
    return Framing(**instantiate({key: cfg.dataset.get(key) for key in keys}, _convert_="all"))


def detector_of(cfg: DictConfig) -> Detector:
    """The detector of a config whose classes and anchors are known."""
    return instantiate(cfg.model, _convert_="all")


def threshold(cfg: DictConfig) -> float:
    """The firing threshold of a config's neurons; 1 for activations."""
    neuron = cfg.model.get("neuron")
    return 1.0 if neuron is None else float(instantiate(neuron)().v_threshold)


def fit_to_data(cfg: DictConfig, data: DataModule) -> None:
    """Fill in what the data decides: classes, channels and, for `anchors: auto`, the anchors (printed)."""
    OmegaConf.update(cfg, "model.num_classes", len(data.class_names))
    OmegaConf.update(cfg, "model.in_channels", data.val.channels)
    if cfg.model.anchors != "auto":
        return
    sizes = data.train.box_sizes(data.fit.scale_wh)
    counts = list(cfg.model.anchors_per_level)
    anchors = kmeans_anchors(sizes, sum(counts))
    fit = shape_iou(sizes, anchors).max(axis=1).mean()
    rounded = iter(anchors.round(1).tolist())
    per_level = [list(islice(rounded, count)) for count in counts]
    log.info("anchors: auto, k-means on %d boxes (mean IoU %.3f): %s", len(sizes), fit, per_level)
    OmegaConf.update(cfg, "model.anchors", per_level, merge=False)


def build_detector(model: str, num_classes: int, T: int, overrides: Sequence[str] = ()) -> Detector:
    """A detector by the name of its config, freshly initialised.

    Args:
        model: option of the group `model`, for example `ems_resnet34`.
        num_classes: K.
        T: time steps.
        overrides: as on the command line, for example `["model.width=0.5", "neuron.v_threshold=0.3"]`. The anchors are
            those published for COCO, three for each of two strides, unless `model.anchors=[[[w,h],...],[[w,h],...]]` is
            given.

    Raises:
        ValueError: a value outside its range.
        hydra.errors.HydraException: a config or key that does not exist.
    """
    cfg = compose_config("train", ["dataset=coco", f"model={model}", f"T={T}", *overrides])
    OmegaConf.update(cfg, "model.num_classes", num_classes)
    return detector_of(cfg)


def device_of(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name}: no CUDA device is available; use device=cpu")
    return torch.device(name)


def plain(cfg: DictConfig) -> Any:
    """A config as plain lists and dictionaries, its interpolations kept, as checkpoints store it."""
    return OmegaConf.to_container(cfg, resolve=False)


def resolved(cfg: DictConfig) -> Any:
    """A config as plain lists and dictionaries, its interpolations filled in, as a model card shows it."""
    return OmegaConf.to_container(cfg, resolve=True)
