"""All-reduce and all-gather for several training processes; the identity where there is only one."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them."""
    return distributed.get_rank() if world_size() > 1 else 0


def summed(x: Tensor) -> Tensor:
    """The sum of every process's x, on all of them; gradients flow back to all."""
    if world_size() == 1:
        return x
    result: Tensor = _Sum.apply(x)
    return result


class _Sum(torch.autograd.Function):
    """Each x is in the sum of every process, so that its gradient is the sum of all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def gathered(mine: T) -> list[T]:
    """Every process's object, in the order of the processes, on all of them."""
    if world_size() == 1:
        return [mine]
    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, mine)
    return found
