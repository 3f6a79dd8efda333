"""Weights in darknet's binary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

HEADER_BYTES = 20  # three int32 of the version, an int64 of images seen (versions from 0.2 on)
# Darknet's names of COCO's classes where they differ from COCO's own.
SPELLINGS = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


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
    values = np.frombuffer(content[HEADER_BYTES : HEADER_BYTES + (len(content) - HEADER_BYTES) // 4 * 4], dtype="<f4")
    wanted = sum(
        conv.weight.numel() + (4 * conv.out_channels if norm is not None else conv.out_channels)
        for conv, norm in layers
    )
    if len(content) != HEADER_BYTES + 4 * wanted:
        raise ValueError(
            f"{path}: {len(content)} bytes; expected {HEADER_BYTES + 4 * wanted} for the {len(layers)} convolutions of "
            "the .cfg: the file is cut short, or of another network"
        )
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
    return [SPELLINGS.get(line.strip(), line.strip()) for line in path.read_text().splitlines() if line.strip()]
