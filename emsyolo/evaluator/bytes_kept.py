"""What autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def bytes_kept(network: nn.Module, run: Callable[[], object]) -> int:
    """The bytes that autograd keeps of a forward pass: every storage once, parameters and buffers left out.

    Counted with `torch.autograd.graph.saved_tensors_hooks`. What torch keeps outside of autograd's sight, and what the
    backward pass itself needs for a while, is not counted.

    Args:
        network: what `run` computes with.
        run: one forward pass, under a gradient; what it gives is kept until the count is done.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = run()
    total = sum(value.untyped_storage().nbytes() for value in kept.values())
    del result
    return total
