"""Max-pooling of maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.neuron.kernels import operator, pool


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d`, faster on a CPU and with a byte per output kept for the backward pass, for windows of 2x2."""

    def plain(self) -> nn.MaxPool2d:
        """The same as torch has it."""
        return nn.MaxPool2d(self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, H', W']`."""
        plain = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode) == (2, 2, 0, 1, False)
        if not plain or x.device.type != "cpu" or x.dtype not in pool.DTYPES or x.ndim != 4 or self.return_indices:
            return super().forward(x)
        y: Tensor = operator.run_max_pool2(x, torch.is_grad_enabled() and x.requires_grad)[0]
        return y
