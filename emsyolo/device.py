"""What the devices of this machine are and can do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


def named(device: torch.device) -> str:
    """What a device is called by its maker; of the CPU only that it is one."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, not only stores it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, by way of pinned memory, so that the host need not wait for the copy."""
    return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)


class Late:
    """Numbers of a device that the host reads later, without a wait for all that the device has been given since.

    Args:
        x: on any device; it must not be changed in place.
    """

    def __init__(self, x: Tensor) -> None:
        self._copy = x.detach().to("cpu", non_blocking=True)
        self._there: torch.cuda.Event | None = None
        if x.is_cuda:
            self._there = torch.cuda.Event()
            self._there.record(torch.cuda.current_stream(x.device))

    def value(self) -> Tensor:
        """The numbers, on the host."""
        if self._there is not None:
            self._there.synchronize()
        return self._copy


def training_precision() -> str:
    """The fastest precision that this device computes in without loss of range."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16-mixed" if has_bfloat16(device) else "32-true"
