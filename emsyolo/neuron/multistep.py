"""Time and batch: stateless layers see `[T*N, C, H, W]`, neurons see `[T, N, C, H, W]`; and tdBN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from emsyolo.neuron.lif import LIF
from emsyolo.neuron.packed import SpikeConv2d


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
        bits: Tensor | None = None  # of x, where it comes from a neuron that packs its spikes
        for layer in self:
            if isinstance(layer, base.MemoryModule):
                x = layer(x)
            elif bits is not None and isinstance(layer, SpikeConv2d):
                x = over_time(x, partial(layer, bits=bits))
            else:
                x = over_time(x, layer)
            bits = layer.take_bits() if isinstance(layer, LIF) else None
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
        self.counting = True  # in the running statistics
        nn.init.constant_(self.weight, alpha * v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """`[T*N, C, H, W]` in and out."""
        if self.training and not self.counting:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(
                x, *statistics, self.weight, self.bias, training=True, momentum=0.0, eps=self.eps
            )
        return super().forward(x)


def reset(network: nn.Module) -> None:
    """Forget the potentials of all neurons in a network, as between two batches."""
    for module in network.modules():
        if isinstance(module, base.MemoryModule):
            module.reset()
