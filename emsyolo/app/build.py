"""From a config to objects."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import cache
from inspect import signature
from itertools import islice
from typing import Any, cast

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from emsyolo.app.config import compose_config
from emsyolo.dataset.augment import Fit
from emsyolo.dataset.datamodule import DataModule, check_filter, fit_to, usual_size
from emsyolo.dataset.event.framing import Framing
from emsyolo.geometry.anchors import kmeans_anchors, shape_iou
from emsyolo.model.detector import Detector
from emsyolo.neuron.memory import set_memory

log = logging.getLogger(__name__)
AUTO = "auto"  # of size_hw and anchors: taken from the training set
HYDRA = ("_target_",)
READ_HERE = ("licence", "sensor_hw", "window_us", "steps", "representation", "frame_hw")  # and by the tasks
CHOICES = ("train_filters",)  # of which a set refers to one, or to none


def data_of(cfg: DictConfig) -> DataModule:
    """The data set of a config, in which `size_hw: auto` becomes the size.

    Raises:
        ValueError: a key that neither the data set takes nor another setting refers to, or a value that is refused.
    """
    taken = signature(get_object(cfg.dataset._target_)).parameters
    _check_keys(cfg.dataset, taken)
    check_filter(cfg.dataset.get("box_filter"), cfg.dataset.get("box_filters", {}))  # before a set refers to one
    opened: dict[str, Any] = {}
    if cfg.dataset.size_hw == AUTO:
        train = cache(instantiate(cfg.dataset.train, _convert_="all"))  # opened once, for its sizes and for good
        cfg.dataset.size_hw = list(usual_size([record.size_hw for record in train().records]))
        log.info("size_hw: auto, the usual shape of the training images: %s px", cfg.dataset.size_hw)
        opened = {"train": train}
    resolved_node: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    given = {key: value for key, value in resolved_node.items() if key in (*taken, *HYDRA) and key not in opened}
    return instantiate(given, **opened, _convert_="all")


def _check_keys(dataset: DictConfig, taken: Collection[str]) -> None:
    """Refuse misspelt keys: what stands in a data set's config is taken by it, or referred to, or read elsewhere."""
    text = OmegaConf.to_yaml(dataset, resolve=False)
    of_sets = {*dataset.get("train", ()), *dataset.get("val", ())}  # which usually refer to it
    known = {*taken, *HYDRA, *READ_HERE, *CHOICES, *of_sets, *re.findall(r"\$\{dataset\.(\w+)", text)}
    for key in map(str, dataset):
        if key not in known:
            near = get_close_matches(key, [*taken, *READ_HERE], n=1)
            raise ValueError(
                f"dataset.{key}: nothing reads this key of the config of data set {dataset.get('name')}"
                f"{f'; did you mean {near[0]}?' if near else ''}"
            )


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
    if cfg.model.get("head"):  # one without anchors
        return
    if cfg.model.get("anchors") != AUTO:
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
    detector = detector_of(cfg)
    set_memory(detector, cfg.memory)
    return detector


def plain(cfg: DictConfig) -> Any:
    """A config as plain lists and dictionaries, as checkpoints store it.

    References are kept, but what is computed is written out: T, and the name of a data set.
    """
    content = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
    return {**content, "T": cfg.T, "dataset": {**content["dataset"], "name": cfg.dataset.name}}


def resolved(cfg: DictConfig) -> Any:
    """A config as plain lists and dictionaries, its interpolations filled in, as a model card shows it."""
    return OmegaConf.to_container(cfg, resolve=True)
