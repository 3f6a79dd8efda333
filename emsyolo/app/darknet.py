"""Darknet's files as a checkpoint."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf
from torch import nn

from emsyolo.app.build import detector_of, plain
from emsyolo.app.config import compose_config
from emsyolo.model.darknet import DarknetBackbone
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.darknet import load_darknet, read_names


def darknet_checkpoint(path: Path) -> Weights:
    """A `.weights` file with the `.cfg` of the same name beside it, and the one `.names` file there.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: weights that do not fit the `.cfg`, or several `.names`.
    """
    names = sorted(path.parent.glob("*.names"))
    if len(names) != 1:
        raise FileNotFoundError(f"{path.parent}: {len(names)} files *.names; expected one, with a class per line")
    class_names = read_names(names[0])
    cfg = compose_config(
        "train", ["dataset=coco", "model=yolov3_tiny", "T=1", f"model.cfg='{path.with_suffix('.cfg')}'"]
    )
    cfg.dataset.size_hw = [416, 416]
    OmegaConf.update(cfg, "model.num_classes", len(class_names))
    detector = detector_of(cfg)
    load_darknet(_in_file_order(detector), path)
    config = {"config": plain(cfg), "class_names": class_names, "dataset": "coco", "model": "yolov3_tiny"}
    return Weights(path, detector.state_dict(), config)


def _in_file_order(detector: Detector) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """The convolutions in the order of the `.cfg`, those of the head among them, each with its normalisation."""
    backbone = detector.backbone
    assert isinstance(backbone, DarknetBackbone)
    maps = {place + 1: conv for place, conv in zip(backbone.read, reversed(list(detector.head.maps)), strict=True)}
    layers: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []
    for i, layer in enumerate(backbone.layers):
        if i in maps:
            conv = maps[i]
            assert isinstance(conv, nn.Conv2d)
            layers.append((conv, None))
            continue
        found = [one for one in layer.modules() if isinstance(one, nn.Conv2d)]
        norms = [one for one in layer.modules() if isinstance(one, nn.BatchNorm2d)]
        if found:
            layers.append((found[0], norms[0] if norms else None))
    return layers
