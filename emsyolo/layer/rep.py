"""The re-parameterised convolutions of SpikeYOLO: several linear layers in training, one dense 3x3 for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emsyolo.layer.tdbn import TdBN


class BNPad(TdBN):
    """Normalisation, then a frame of one pixel whose value is what it makes of 0.

    The frame is `beta - mean * gamma / sqrt(var + eps)` of the running statistics, in training too (where they are
    those that this call has updated), and no gradient flows through it. With it, normalisation followed by a
    convolution without padding is one convolution with zero padding and a bias. Ding et al., CVPR 2021 (RepVGG and its
    like); Luo et al., ECCV 2024, code.

    Args:
        channels: C.
        eps, momentum: of the normalisation.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, 1.0)
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, H + 2, W + 2]`."""
        inside = super().forward(x)
        frame = self.frame().to(inside.dtype).view(1, -1, 1, 1)
        # Around 0, then shifted: one pass, and nothing is written twice.
        return F.pad(inside - frame, (1, 1, 1, 1)) + frame

    def normalisation(self, x: Tensor) -> None:
        """None: it is more than a normalisation."""

    @torch.no_grad()
    def frame(self) -> Tensor:
        """The value of the frame, `[C]`."""
        assert self.running_mean is not None
        assert self.running_var is not None
        return self.bias - self.running_mean * self.weight * (self.running_var + self.eps).rsqrt()


class RepConv(nn.Sequential):
    """Convolutions in a row with nothing non-linear between them, over folded maps `[T*N, C, H, W]`, without bias.

        separable (SepRep): BNPad, 1x1 to `channels_out`, depthwise 3x3
        else (Rep):         1x1, BNPad, depthwise 3x3, 1x1 to `channels_out`, BN

    In evaluation both equal one dense 3x3 convolution with zero padding and a bias (`dense`).

    Args:
        channels_in: C.
        channels_out: C'.
        separable: which form.
        eps, momentum: of the normalisations.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, separable: bool, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        pad = BNPad(channels_in, eps, momentum)
        if separable:
            super().__init__(
                pad,
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.Conv2d(channels_out, channels_out, 3, groups=channels_out, bias=False),
            )
        else:
            last = TdBN(channels_out, 1.0)
            last.eps, last.momentum = eps, momentum
            super().__init__(
                nn.Conv2d(channels_in, channels_in, 1, bias=False),
                pad,
                nn.Conv2d(channels_in, channels_in, 3, groups=channels_in, bias=False),
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                last,
            )
        self.channels = channels_in

    @torch.no_grad()
    def dense(self) -> nn.Conv2d:
        """The one convolution that this is in evaluation, composed in float64."""
        weight = next(self.parameters())
        kernel = torch.eye(self.channels, dtype=torch.float64, device=weight.device)[:, :, None, None]
        bias = kernel.new_zeros(self.channels)
        for layer in self:
            if isinstance(layer, nn.BatchNorm2d):
                scale, shift = _scale_and_shift(layer)
                kernel, bias = kernel * scale.view(-1, 1, 1, 1), bias * scale + shift
            elif layer.groups == 1:
                matrix = layer.get_parameter("weight")[:, :, 0, 0].double()
                kernel, bias = torch.einsum("oc,cihw->oihw", matrix, kernel), matrix @ bias
            else:  # the frame before it is what black has become, so that its border is like its inside
                own = layer.get_parameter("weight").double()
                kernel, bias = kernel * own, bias * own.sum(dim=(1, 2, 3))
        found = nn.Conv2d(self.channels, len(bias), 3, padding=1, device=weight.device, dtype=weight.dtype)
        found.weight.copy_(kernel)
        assert found.bias is not None
        found.bias.copy_(bias)
        return found


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a normalisation multiplies by and adds in evaluation, `[C]` each, float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale
