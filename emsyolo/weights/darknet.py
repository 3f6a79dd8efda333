"""Weights in darknet's binary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from emsyolo.text import read_text

# Darknet's names of COCO's classes where they differ from COCO's own.
SPELLINGS = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def header_bytes(content: bytes, path: Path) -> int:
    """Length of the header: three int32 of the version, then the images seen, an int64 from version 0.2 on.

    As darknet's `load_weights_upto` reads it.

    Raises:
        ValueError: fewer bytes than a header has.
    """
    if len(content) < 16:
        raise ValueError(f"{path}: {len(content)} bytes; expected darknet's header and weights")
    major, minor, _ = np.frombuffer(content[:12], dtype="<i4").tolist()
    return 20 if major * 10 + minor >= 2 and major < 1000 and minor < 1000 else 16


def load_darknet(layers: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]], path: Path) -> None:
    """Fill convolutions, in the order of the file: bias or normalisation first, then the kernel.

    Args:
        layers: each convolution with the normalisation that follows it, or None.
        path: of a `.weights` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file with fewer or more numbers than these layers need.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: looked for darknet's weights and found none")
    content = path.read_bytes()
    header = header_bytes(content, path)
    wanted = header + 4 * sum(
        conv.weight.numel() + (4 * conv.out_channels if norm is not None else conv.out_channels)
        for conv, norm in layers
    )
    if len(content) != wanted:
        raise ValueError(
            f"{path}: {len(content)} bytes; expected {wanted} for the {len(layers)} convolutions of the .cfg: the file "
            "is cut short, or of another network"
        )
    values = np.frombuffer(content[header:], dtype="<f4")
    place = 0

    def take(target: torch.Tensor) -> None:
        nonlocal place
        count = target.numel()
        with torch.no_grad():
            target.copy_(torch.from_numpy(values[place : place + count].copy()).view_as(target))
        place += count

    for conv, norm in layers:
        if norm is None:
            assert conv.bias is not None
            take(conv.bias)
        else:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for target in (norm.bias, norm.weight, norm.running_mean, norm.running_var):
                take(target)
        take(conv.weight)


def read_names(path: Path) -> list[str]:
    """The class names of a `.names` file, in COCO's spelling."""
    return [SPELLINGS.get(line.strip(), line.strip()) for line in read_text(path).splitlines() if line.strip()]
