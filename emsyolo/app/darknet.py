"""Darknet's files as a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

from emsyolo.app.build import detector_of, plain
from emsyolo.app.config import compose_config
from emsyolo.model.darknet import DarknetBackbone, Section, cfg_text, read_cfg, whole
from emsyolo.model.detector import Detector
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.darknet import load_darknet, read_names

log = logging.getLogger(__name__)
PUBLISHED_ANCHORS = [10.0, 14.0, 23.0, 27.0, 37.0, 58.0, 81.0, 82.0, 135.0, 169.0, 344.0, 319.0]  # of YOLOv3-tiny


def darknet_checkpoint(path: Path) -> Weights:
    """A `.weights` file with the `.cfg` of the same name beside it, and the one `.names` file there.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: a `.cfg` that cannot be understood, weights that do not fit it, or several `.names`.
    """
    names = sorted(path.parent.glob("*.names"))
    if len(names) != 1:
        raise FileNotFoundError(f"{path.parent}: {len(names)} files *.names; expected one, with a class per line")
    class_names = read_names(names[0])
    cfg = compose_config("train", ["dataset=coco", "model=yolov3_tiny", "T=1"])
    description = path.with_suffix(".cfg")
    sections = read_cfg(description)
    cfg.model.cfg = cfg_text(sections)  # so that what is trained from it needs no file
    cfg.dataset.size_hw = stated_size(sections, description)
    OmegaConf.update(cfg, "model.num_classes", len(class_names))
    anchors = stated_anchors(sections, description, len(class_names))
    if anchors is not None:
        OmegaConf.update(cfg, "model.anchors", anchors, merge=False)
    _check_memory(sections, description, path)
    detector = detector_of(cfg)
    load_darknet(_in_file_order(detector), path)
    config = {"config": plain(cfg), "class_names": class_names, "dataset": "coco", "model": "yolov3_tiny"}
    return Weights(path, detector.state_dict(), config)


def _check_memory(sections: list[Section], description: Path, path: Path) -> None:
    """Refuse a network of more numbers than the file has, before it takes the memory for them."""
    try:
        with torch.device("meta"):
            least = 4 * sum(parameter.numel() for parameter in DarknetBackbone(sections[1:]).parameters())
    except ValueError as error:
        raise ValueError(f"{description}: {error}") from error
    if path.is_file() and least > path.stat().st_size:
        raise ValueError(
            f"{path}: {path.stat().st_size} bytes; expected at least {least} for the layers of {description}"
        )


def stated_size(sections: list[Section], path: Path) -> list[int]:
    """Height and width of the network's input, px, as `[net]` says; 416 where it does not.

    Raises:
        ValueError: no `[net]` at the start, or sides that are no multiples of 32; names the file.
    """
    if not sections or sections[0]["type"] not in ("net", "network"):
        raise ValueError(f"{path}: expected [net] as the first section")
    try:
        sides = [whole(sections[0], side, 0, 416) for side in ("height", "width")]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if any(side % 32 for side in sides):
        raise ValueError(f"{path}, [net]: height={sides[0]}, width={sides[1]}; expected multiples of 32")
    return sides


def stated_anchors(sections: list[Section], path: Path, classes: int) -> list[list[list[float]]] | None:
    """The anchors of each `[yolo]` section, small stride first, px; None where the file states none.

    The published yolov3-tiny.cfg has `mask = 0,1,2` at stride 16, but its weights were trained with 1,2,3: only it,
    known by its anchors and its 80 classes, is read so, and a warning says it.

    Raises:
        ValueError: anchors or masks that are no numbers or do not fit each other, or another number of classes.
    """
    levels = []
    for section in reversed([section for section in sections if section["type"] == "yolo"]):
        if "anchors" not in section:
            return None
        try:
            sides = [float(word) for word in section["anchors"].split(",")]
            mask = [int(word) for word in section["mask"].split(",")] if "mask" in section else range(len(sides) // 2)
            stated = int(section.get("classes", classes))
            pairs = [[sides[2 * i], sides[2 * i + 1]] for i in mask if i >= 0]
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{path}, [yolo]: mask={section.get('mask')}, anchors={section['anchors']}; expected pairs of numbers "
                "and the places of those that the section has"
            ) from error
        if stated != classes:
            raise ValueError(f"{path}, [yolo]: classes={stated}, but the .names file has {classes}; expected as many")
        levels.append((list(mask), sides, pairs))
    if levels and classes == 80 and levels[0][0] == [0, 1, 2] and levels[0][1] == PUBLISHED_ANCHORS:
        log.warning("%s: the anchors 1,2,3 are used at stride 16 in place of mask = 0,1,2, because the published "
                    "weights were trained with them; for weights of your own type model.anchors=", path)  # fmt: skip
        levels[0] = ([1, 2, 3], PUBLISHED_ANCHORS, [PUBLISHED_ANCHORS[2 * i : 2 * i + 2] for i in (1, 2, 3)])
    return [pairs for _, _, pairs in levels] or None


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
        found = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
        norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
        if found:
            layers.append((found[0], norms[0] if norms else None))
    return layers
