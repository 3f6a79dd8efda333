"""Parts of a network that can be computed anew in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.memory import Memory
from emsyolo.neuron.state import put, take, unread

# torch.compile cannot trace a context of the second computation; it compiles what is inside.
_checkpoint = torch.compiler.disable(checkpoint, recursive=False)


class Stages(nn.Module):
    """A module that runs its parts by `stage`, so that they can be computed anew in the backward pass.

    Attributes:
        recompute: whether they are.
    """

    recompute = False

    def keep(self, memory: Memory) -> bool:
        """Recompute the stages, or keep what torch keeps."""
        self.recompute = memory == "recompute"
        return self.recompute

    def stage(self, part: nn.Module, x: Tensor) -> Tensor:
        """`part(x)`; with `recompute`, nothing but x is kept for the backward pass."""
        if not (self.recompute and is_grad_enabled()):
            return part(x)
        return _checkpoint(
            part, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), _again(part))
        )


def _again(part: nn.Module) -> AbstractContextManager[None]:
    """The second computation: from the state of the first one, without counting in the running statistics."""
    norms = [module for module in part.modules() if isinstance(module, TdBN)]
    before = take(part)

    @contextmanager
    def again() -> Iterator[None]:
        after = take(part)
        put(part, before)
        for norm in norms:
            norm.counting = False
        try:
            with unread(part):
                yield
        finally:
            put(part, after)
            for norm in norms:
                norm.counting = True

    return again()
