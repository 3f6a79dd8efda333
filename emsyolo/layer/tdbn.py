"""Threshold-dependent batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.distributed import summed, world_size
from emsyolo.neuron.normalisation import Normalisation


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

    def normalisation(self, x: Tensor) -> Normalisation | None:
        """What `forward` would do with `[T*N, C, H, W]`, as a value; in training the maps count in the statistics.

        None where `forward` has more to do or to say: statistics over several processes, or of a single number.
        """
        if self.training and (world_size() > 1 or x.numel() <= x.shape[1]):
            return None
        assert self.running_mean is not None
        assert self.running_var is not None
        if not self.training:
            return Normalisation(self.running_mean, self.running_var, self.weight, self.bias, self.eps, batch=False)
        assert self.momentum is not None
        momentum = self.momentum if self.counting else 0.0
        if self.counting and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        with torch.no_grad():
            mean, var = torch.batch_norm_update_stats(x, self.running_mean, self.running_var, momentum)
        return Normalisation(mean, var, self.weight, self.bias, self.eps, batch=True)

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
