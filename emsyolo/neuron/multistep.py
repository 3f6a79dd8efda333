"""Time and batch: stateless layers see `[T*N, C, H, W]`, neurons see `[T, N, C, H, W]`; and tdBN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from emsyolo.distributed import summed, world_size
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

    Where several processes train together, statistics are those of all their samples (torch's SyncBatchNorm would do
    the same, but not on a CPU).

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
        if self.training and world_size() > 1:
            return self._over_processes(x)
        if self.training and not self.counting:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(
                x, *statistics, self.weight, self.bias, training=True, momentum=0.0, eps=self.eps
            )
        return super().forward(x)

    def _over_processes(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        # Sums of squares lose digits where the mean is far from 0; near the running mean it is not.
        near = self.running_mean.detach().clone().to(exact.dtype)
        centred = exact - near.view(1, -1, 1, 1)
        count = centred.new_full((1,), x.numel() / x.shape[1])
        sums = summed(torch.cat((centred.sum(dim=(0, 2, 3)), centred.square().sum(dim=(0, 2, 3)), count)))
        total = sums[-1].detach()
        offset, square = (sums[:-1] / total).chunk(2)
        variance = (square - offset.square()).clamp(min=0)
        scale = self.weight * (variance + self.eps).rsqrt()
        out = (centred - offset.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        if self.counting:
            with torch.no_grad():
                self.running_mean.lerp_((near + offset).to(self.running_mean.dtype), self.momentum)
                unbiased = variance * total / (total - 1).clamp(min=1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        return out.to(x.dtype)


def reset(network: nn.Module) -> None:
    """Forget the potentials of all neurons in a network, as between two batches."""
    for module in network.modules():
        if isinstance(module, base.MemoryModule):
            module.reset()
