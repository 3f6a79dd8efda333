"""Residual blocks: EMS (this paper), MS and SEW (its baselines). The block is the only difference between networks.

A block maps `[T, N, C_in, H, W]` to `[T, N, C_out, H/stride, W/stride]`; its convolutions have no bias. `neuron` makes
a fresh neuron at each call, and tells the threshold at which normalisation weights start.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep, Residual, Shortcut, joined
from emsyolo.layer.pool import MaxPool2d
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.neuron import NeuronFactory

LAST_ALPHA = 0.2  # of a residual path's last normalisation, so that a deep network starts near the identity


class BlockFactory(Protocol):
    """What a network calls for each of its blocks."""

    def __call__(
        self, channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
    ) -> nn.Module:
        """A block; `inner` is the width between its convolutions, by default `channels_out`."""


def conv_norm(
    channels_in: int, channels_out: int, kernel: int, stride: int, v_threshold: float, alpha: float = 1.0
) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride), and its normalisation."""
    return [
        SpikeConv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        TdBN(channels_out, v_threshold, alpha),
    ]


def max_pool(stride: int) -> nn.Module:
    """Max-pooling over windows of `stride`; nothing for stride 1."""
    return MaxPool2d(stride, stride) if stride > 1 else nn.Identity()


def membrane_residual(
    channels_in: int, channels_out: int, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
) -> MultiStep:
    """The residual path of EMS and MS blocks: neuron, convolution, normalisation, twice."""
    inner = inner or channels_out
    first, second = neuron(), neuron()
    return MultiStep(
        first,
        *conv_norm(channels_in, inner, kernel, stride, first.v_threshold),
        second,
        *conv_norm(inner, channels_out, kernel, 1, first.v_threshold, LAST_ALPHA),
    )


class EMSBlock1(Residual):
    """EMS-Block1: channels and size unchanged; the shortcut is the identity on membrane values. Su et al., Fig. 3."""

    def __init__(self, channels: int, *, kernel: int, inner: int | None, neuron: NeuronFactory) -> None:
        super().__init__()
        self.residual = membrane_residual(channels, channels, 1, kernel, inner, neuron)

    def sums(self) -> list[tuple[nn.Module, None]]:
        """The residual path and the identity."""
        return [(self.residual, None)]


class EMSBlock2(Residual):
    """EMS-Block2, projection: max-pooling, then a LIF, so that the shortcut's convolution is fed only by spikes."""

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
    ) -> None:
        super().__init__()
        self.residual = membrane_residual(channels_in, channels_out, stride, kernel, inner, neuron)
        first = neuron()
        self.shortcut = MultiStep(
            max_pool(stride), first, *conv_norm(channels_in, channels_out, 1, 1, first.v_threshold)
        )

    def sums(self) -> list[tuple[nn.Module, nn.Module]]:
        """The residual path and the shortcut."""
        return [(self.residual, self.shortcut)]


class EMSBlock2Cat(Residual):
    """EMS-Block2, concatenation: only the added channels are convolved; the max-pooling acts on membrane values."""

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
    ) -> None:
        super().__init__()
        self.residual = membrane_residual(channels_in, channels_out, stride, kernel, inner, neuron)
        first = neuron()
        self.new = MultiStep(first, *conv_norm(channels_in, channels_out - channels_in, 1, 1, first.v_threshold))
        self.pool = MultiStep(max_pool(stride))

    def sums(self) -> list[tuple[nn.Module, Shortcut]]:
        """The residual path and the shortcut."""
        return [(self.residual, self._shortcut)]

    def _shortcut(self, x: Tensor) -> Tensor:
        return self.pool(joined((self.new(x), x)))


class MSBlock(Residual):
    """MS-Block (MS-ResNet): as EMS, but its shortcut convolves membrane values. Hu et al., 2021.

    Differs: the inner width is the output width (published: half), so that the block is the only difference.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
    ) -> None:
        super().__init__()
        self.residual = membrane_residual(channels_in, channels_out, stride, kernel, inner, neuron)
        change = channels_in != channels_out or stride != 1
        projection = conv_norm(channels_in, channels_out, 1, 1, neuron().v_threshold)
        self.shortcut = MultiStep(max_pool(stride), *projection) if change else nn.Identity()

    def sums(self) -> list[tuple[nn.Module, nn.Module]]:
        """The residual path and the shortcut."""
        return [(self.residual, self.shortcut)]


class SEWBlock(Residual):
    """SEW-Block (SEW-ResNet) with ADD: spikes of both paths are added, so 2, 3, ... may follow. Fang et al., 2021."""

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
    ) -> None:
        super().__init__()
        inner = inner or channels_out
        first, second = neuron(), neuron()
        self.residual = MultiStep(
            *conv_norm(channels_in, inner, kernel, stride, first.v_threshold),
            first,
            *conv_norm(inner, channels_out, kernel, 1, first.v_threshold),
            second,
        )
        change = channels_in != channels_out or stride != 1
        third = neuron()
        projection = conv_norm(channels_in, channels_out, 1, stride, third.v_threshold)
        self.shortcut = MultiStep(*projection, third) if change else nn.Identity()

    def sums(self) -> list[tuple[nn.Module, nn.Module]]:
        """The residual path and the shortcut."""
        return [(self.residual, self.shortcut)]


def ems(
    channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
) -> nn.Module:
    """EMS-Block1 where channels and size stay, else EMS-Block2 with projection."""
    if channels_in == channels_out and stride == 1:
        return EMSBlock1(channels_in, kernel=kernel, inner=inner, neuron=neuron)
    return EMSBlock2(channels_in, channels_out, stride=stride, kernel=kernel, inner=inner, neuron=neuron)


def ems_cat(
    channels_in: int, channels_out: int, *, stride: int, kernel: int, inner: int | None, neuron: NeuronFactory
) -> nn.Module:
    """`ems`, but EMS-Block2 with concatenation where channels grow."""
    if channels_out > channels_in:
        return EMSBlock2Cat(channels_in, channels_out, stride=stride, kernel=kernel, inner=inner, neuron=neuron)
    return ems(channels_in, channels_out, stride=stride, kernel=kernel, inner=inner, neuron=neuron)
