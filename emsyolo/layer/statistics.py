"""Running statistics of normalisations: measured anew, and compared with those of other maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")


@torch.no_grad()
def measure_statistics(network: nn.Module, batches: Iterable[T], run: Callable[[T], Any] | None = None) -> int:
    """Set the running statistics of every normalisation that is trained to those of some batches.

    They become the mean over the batches, each of which counts as much as another, as `torch.optim.swa_utils.update_bn`
    does; weights stay as they are. Normalisations that are frozen (in evaluation mode in a network that trains) keep
    theirs. For weights that come from another network, whose maps have another size, or an average of weights.

    Args:
        network: on its device; is left in the mode that it was in.
        batches: what it is called with, one after the other.
        run: calls the network with a batch; None: `network(batch)`.

    Returns:
        How many normalisations were measured; 0 where there is no batch.
    """
    mode = network.training
    network.train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [norm.momentum for norm in norms]
    seen = 0
    try:
        for seen, batch in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1 / seen  # of the first batch all, of the second half: their mean
            (run or network)(batch)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        network.train(mode)
    return len(norms) if seen else 0


@torch.no_grad()
def strangeness(network: nn.Module, batch: Any) -> float:
    """How far maps of a batch are from those that a network was trained on, >= 0: 0 where all statistics are the same.

    At every normalisation and channel it is ln(1 + KL) of the normal distribution with the mean and variance of the
    batch from that with the running ones; of those, the mean over the channels, then over the normalisations.

    Args:
        network: in evaluation mode, its normalisations not folded.
        batch: what it is called with.
    """
    found: list[float] = []

    def look(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        ratio = (var + norm.eps) / (norm.running_var + norm.eps)
        shift = (mean - norm.running_mean).square() / (norm.running_var + norm.eps)
        found.append(torch.log1p((ratio + shift - 1 - ratio.log()).clamp(min=0) / 2).mean().item())

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found) / max(1, len(found))
