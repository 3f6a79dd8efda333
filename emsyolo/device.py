"""What the devices of this machine are and can do."""

from __future__ import annotations

import torch
from torch import nn


def device_of(network: nn.Module) -> torch.device:
    """The device that a network's parameters are on."""
    return next(network.parameters()).device


def named_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name}: no CUDA device is available; use device=cpu")
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, not only stores it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def training_precision() -> str:
    """The fastest precision that this device computes in without loss of range."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16-mixed" if has_bfloat16(device) else "32-true"
