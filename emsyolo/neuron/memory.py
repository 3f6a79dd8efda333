"""What training keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from emsyolo.neuron.lif import LIF
from emsyolo.neuron.multistep import TdBN
from emsyolo.neuron.state import put, take

Memory = Literal["plain", "packed", "recompute"]
# torch.compile cannot trace a context of the second computation; it compiles what is inside.
_checkpoint = torch.compiler.disable(checkpoint, recursive=False)


class Stages(nn.Module):
    """A module that runs its parts by `stage`, so that they can be computed anew in the backward pass.

    Attributes:
        recompute: whether they are.
    """

    recompute = False

    def stage(self, part: nn.Module, x: Tensor) -> Tensor:
        """`part(x)`; with `recompute`, nothing but x is kept for the backward pass."""
        if not (self.recompute and is_grad_enabled()):
            return part(x)
        return _checkpoint(
            part, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), _again(part))
        )


def set_memory(network: nn.Module, memory: Memory) -> None:
    """Say what a network keeps for the backward pass; the gradients are the same.

    `plain`: the float maps that convolutions are fed with, as torch does. `packed`: spikes as bits, which the LIF keeps
    anyway. `recompute`: the inputs of stages alone, which are computed once more in the backward pass.

    Raises:
        ValueError: an unknown word.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; expected one of {', '.join(get_args(Memory))}")
    for module in network.modules():
        if isinstance(module, LIF):
            module.pack = memory != "plain"
        elif isinstance(module, Stages):
            module.recompute = memory == "recompute"


def _again(part: nn.Module) -> AbstractContextManager[None]:
    """The second computation: from the state of the first one, without counting in the running statistics."""
    norms = [one for one in part.modules() if isinstance(one, TdBN)]
    before = take(part)

    @contextmanager
    def again() -> Iterator[None]:
        after = take(part)
        put(part, before)
        for norm in norms:
            norm.counting = False
        try:
            yield
        finally:
            put(part, after)
            for norm in norms:
                norm.counting = True

    return again()
