"""Time and batch: stateless layers see `[T*N, C, H, W]`, neurons see `[T, N, C, H, W]`; and tdBN."""

from __future__ import annotations

from collections.abc import Callable

from spikingjelly.activation_based import base, functional
from torch import Tensor, nn


def over_time(x: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """A stateless function of `[N, C, H, W]` applied to every step of `[T, N, C, H, W]`.

    Where all steps are one and the same tensor (`expand` over T, as for a still image), it is computed once: this is
    how the stem runs once per image. Normalisation in training then counts N instead of T*N samples in the correction
    of its running variance, n/(n-1); all else is identical.
    """
    if x.shape[0] > 1 and x.stride(0) == 0:
        return over_time(x[:1], apply).expand(x.shape[0], -1, -1, -1, -1)
    return functional.seq_to_ann_forward(x, apply)


class MultiStep(nn.Sequential):
    """Layers in a row over `[T, N, C, H, W]`: neurons step through time, all other layers see time as batch."""

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` in and out."""
        for layer in self:
            x = layer(x) if isinstance(layer, base.MemoryModule) else over_time(x, layer)
        return x


class TdBN(nn.BatchNorm2d):
    """Threshold-dependent batch normalisation of folded maps `[T*N, C, H, W]`.

    Statistics are taken per channel over T, N, H and W together, because time is folded into the batch; the weight
    starts at `alpha * v_threshold`. Zheng et al., AAAI 2021; Su et al., ICCV 2023, Eq. (5). Differs from Eq. (5), which
    multiplies by `alpha * v_threshold` at every step: as in the published code and SpikingJelly, the trainable weight
    only starts there, which is the same family of functions.

    Args:
        channels: C.
        v_threshold: of the neurons that follow.
        alpha: 1, or 0.2 for the last normalisation of a residual path.
    """

    def __init__(self, channels: int, v_threshold: float, alpha: float = 1.0) -> None:
        super().__init__(channels)
        self.alpha = alpha
        nn.init.constant_(self.weight, alpha * v_threshold)


def reset(network: nn.Module) -> None:
    """Forget the potentials of all neurons in a network, as between two batches."""
    for module in network.modules():
        if isinstance(module, base.MemoryModule):
            module.reset()
