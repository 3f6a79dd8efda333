"""Convolutions of spikes in 8 bits, for CPUs: spikes are exact in them, so that only weights are rounded."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep
from emsyolo.neuron.neuron import spikes_of

LARGEST = 127
LARGEST_SPIKE = 255  # in a byte


def available() -> bool:
    """Whether this torch has oneDNN's quantised convolution."""
    return hasattr(torch.ops.onednn, "qconv_pointwise") and hasattr(torch.ops.onednn, "qconv_prepack")


class Int8SpikeConv2d(nn.Conv2d):
    """A convolution of spikes `[T*N, C, H, W]`, 0 to 255, by weights in int8 with one scale per output channel.

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
        x = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
        out: Tensor = torch.ops.onednn.qconv_pointwise(
            x, 1.0, 0, self.packed, self.scale, self.zero, self.bias, *geometry, 1.0, 0, self.out_dtype, "none", [], ""
        )
        return out


def to_int8(network: nn.Module) -> list[str]:
    """Replace, in place, every convolution that is fed by a neuron of unsigned spikes, directly before it.

    Those whose output channels are a multiple of 48 and not of 64 stay as they are: on small maps oneDNN 3.13 takes 50
    times as long for 48, 96, 144 or 336 of them as for one block more or less.

    Returns:
        The names of the convolutions that were not taken, each with the reason.

    Raises:
        ValueError: this torch has no such convolution.
    """
    if not available():
        raise ValueError("precision is int8, but this torch has no quantised convolution of oneDNN; use bf16")
    left = {
        name: "no neuron directly before it"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    for row, layers in network.named_modules():
        if not isinstance(layers, MultiStep):
            continue
        for (_, before), (own, convolution) in pairwise(list(layers.named_children())):
            name = f"{row}.{own}"
            if not isinstance(convolution, nn.Conv2d):
                continue
            spikes = spikes_of(before)
            if spikes is None or spikes.signed or spikes.levels > LARGEST_SPIKE:
                left[name] = "fed by numbers" if spikes is None else "fed by negative spikes, or larger ones than 255"
            elif _is_slow(convolution):
                left[name] = f"{convolution.out_channels} channels, with which oneDNN is slow"
            else:
                if hasattr(before, "spike_dtype"):
                    setattr(before, "spike_dtype", torch.uint8)  # noqa: B010
                setattr(layers, own, Int8SpikeConv2d(convolution))
                del left[name]
    return [f"{name} ({reason})" for name, reason in left.items()]


def _is_slow(convolution: nn.Conv2d) -> bool:
    return convolution.out_channels % 48 == 0 and convolution.out_channels % 64 != 0
