"""Convolutions of spikes in 8 bits, for CPUs: spikes are exact in them, so that weights alone are rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsyolo.neuron.lif import LIF
from emsyolo.neuron.multistep import MultiStep

LARGEST = 127


def available() -> bool:
    """Whether this torch has oneDNN's quantised convolution."""
    return hasattr(torch.ops.onednn, "qconv_pointwise") and hasattr(torch.ops.onednn, "qconv_prepack")


class Int8SpikeConv2d(nn.Conv2d):
    """A convolution of spikes `[T*N, C, H, W]`, uint8 0 or 1, by weights in int8, one scale per output channel.

    `weight` is what the rounded weights stand for. Sums are exact (int32); the result is of the dtype of the
    convolution that this replaces.

    Args:
        convolution: without normalisation.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            convolution.dilation,  # type: ignore[arg-type]
            convolution.groups,
            bias=convolution.bias is not None,
            device="meta",
        )
        self.out_dtype = convolution.weight.dtype
        weight = convolution.weight.detach().float()
        self.scale = (weight.abs().amax(dim=(1, 2, 3)) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
        rounded = (weight / self.scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.weight = nn.Parameter(rounded * self.scale.view(-1, 1, 1, 1), requires_grad=False)
        self.zero = torch.zeros(len(weight), dtype=torch.int32)
        if convolution.bias is not None:
            self.bias = nn.Parameter(convolution.bias.detach().float(), requires_grad=False)
        geometry = (list(self.stride), list(self.padding), list(self.dilation), self.groups)
        self.packed: Tensor = torch.ops.onednn.qconv_prepack(rounded, self.scale, 1.0, 0, *geometry, None)

    def forward(self, x: Tensor) -> Tensor:
        """The currents `[T*N, C_out, H', W']`."""
        geometry = (list(self.stride), list(self.padding), list(self.dilation), self.groups)
        x = x.contiguous(memory_format=torch.channels_last)
        out: Tensor = torch.ops.onednn.qconv_pointwise(
            x, 1.0, 0, self.packed, self.scale, self.zero, self.bias, *geometry, 1.0, 0, self.out_dtype, "none", [], ""
        )
        return out


def to_int8(network: nn.Module) -> None:
    """Replace, in place, every convolution that a LIF alone feeds; those of numbers stay as they are.

    So do those whose output channels are a multiple of 48 and not of 64: on small maps oneDNN 3.13 takes 50 times as
    long for 48, 96, 144 or 336 of them as for one block more or less.

    Raises:
        ValueError: this torch has no such convolution.
    """
    if not available():
        raise ValueError("precision is int8, but this torch has no quantised convolution of oneDNN; use bf16")
    for layers in network.modules():
        if not isinstance(layers, MultiStep):
            continue
        for place in range(len(layers) - 1):
            before, convolution = layers[place], layers[place + 1]
            if isinstance(before, LIF) and isinstance(convolution, nn.Conv2d) and not _is_slow(convolution):
                before.spike_dtype = torch.uint8
                layers[place + 1] = Int8SpikeConv2d(convolution)


def _is_slow(convolution: nn.Conv2d) -> bool:
    return convolution.out_channels % 48 == 0 and convolution.out_channels % 64 != 0
