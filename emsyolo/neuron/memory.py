"""What training keeps for the backward pass."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

Memory = Literal["plain", "packed", "recompute"]


def set_memory(network: nn.Module, memory: Memory) -> None:
    """Say what a network keeps for the backward pass; the gradients are the same.

    `plain`: the float maps that convolutions are fed with, as torch does. `packed`: spikes as bits, where there are
    spikes. `recompute`: the inputs of stages only, which are computed once more in the backward pass. It is said to
    every module that has a method `keep`, which tells whether it makes a difference there.

    Raises:
        ValueError: an unknown word, or `recompute` for a network that has no stages.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; expected one of {', '.join(get_args(Memory))}")
    heeded = [
        keep(memory) for keep in (getattr(module, "keep", None) for module in network.modules()) if keep is not None
    ]
    if memory == "recompute" and not any(heeded):
        raise ValueError("memory=recompute: this network is not built of stages; expected memory=packed or plain")
