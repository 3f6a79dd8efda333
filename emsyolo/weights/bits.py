"""Weights in fewer bits on disk; they are computed with in 32."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BITS = (32, 16, 8)
SCALE = "@scale"  # ends the name of what the whole numbers of a tensor are multiplied by
MAPS = "head."  # whose outputs become pixels and scores: never in 8 bits
LARGEST = 127


def packed(state: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Tensors by name as they are stored.

    In 8 bits the weights of convolutions are whole numbers from -127 to 127 and a scale per output channel; the head's
    are in 16 bits, and what has one number per channel, such as normalisations, in 32. In 16 bits every number is a
    half-precision one, but those too large for it.

    Args:
        state: of a detector.
        bits: 32 (as they are), 16 or 8.

    Raises:
        ValueError: another number of bits.
    """
    if bits not in BITS:
        raise ValueError(f"bits is {bits}; expected one of {', '.join(map(str, BITS))}")
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if bits == 32 or not tensor.is_floating_point() or (bits == 8 and tensor.dim() < 2):
            stored[name] = tensor
        elif bits == 8 and not name.startswith(MAPS):
            stored[name], stored[name + SCALE] = _whole(tensor)
        else:
            half = tensor.half()
            stored[name] = half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
    return stored


def _whole(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers `[C, ...]` and their scales `[C, 1, ...]`."""
    largest = tensor.abs().amax(dim=tuple(range(1, tensor.dim())), keepdim=True).float()
    scale = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
    return (tensor / scale).round().to(torch.int8), scale


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name as a detector takes them, of stored ones: numbers of fewer bits become those of 32.

    Raises:
        KeyError: a scale without its tensor.
    """
    scaled = {name.removesuffix(SCALE) for name in stored if name.endswith(SCALE)}
    state = {name: _wide(tensor) for name, tensor in stored.items() if not name.endswith(SCALE)}
    for name in scaled:
        state[name] = state[name].float() * stored[name + SCALE]
    return state


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
