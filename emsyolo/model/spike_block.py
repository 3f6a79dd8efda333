"""The blocks of SpikeYOLO: every convolution is fed by a neuron, and what is added is membrane values.

Maps are `[T, N, C, H, W]`. `neuron` makes a fresh neuron at each call. Normalisations have the published eps and
momentum. Luo et al., ECCV 2024, and its published code.
"""

from __future__ import annotations

from torch import Tensor, nn

from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.layer.multistep import MultiStep, Residual, joined, over_time
from emsyolo.layer.rep import RepConv
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.neuron import NeuronFactory

EPS, MOMENTUM = 1e-3, 0.03  # of every normalisation: set by Ultralytics' initialiser in the published code
EXPANSION, KERNEL = 2, 7  # of the separable convolution


def norm(channels: int) -> TdBN:
    """A normalisation with the published constants; its weights start at 1."""
    made = TdBN(channels, 1.0)
    made.eps, made.momentum = EPS, MOMENTUM
    return made


def spike_conv(channels_in: int, channels_out: int, kernel: int, stride: int, neuron: NeuronFactory) -> MultiStep:
    """Neuron, convolution, normalisation (StandardConv, SpikeConv)."""
    return MultiStep(
        neuron(),
        SpikeConv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        norm(channels_out),
    )


class Downsampling(MultiStep):
    """Neuron (not before the image), convolution with bias, normalisation.

    Args:
        channels_in, channels_out: C and C'.
        neuron: None for the first, which sees the image: 7x7 with stride 4 for 3x3 with stride 2.
    """

    def __init__(self, channels_in: int, channels_out: int, neuron: NeuronFactory | None) -> None:
        first = neuron is None
        kernel, stride, padding = (7, 4, 2) if first else (3, 2, 1)
        convolution = SpikeConv2d(channels_in, channels_out, kernel, stride, padding)
        super().__init__(*([] if neuron is None else [neuron()]), convolution, norm(channels_out))


def separable(channels: int, neuron: NeuronFactory) -> MultiStep:
    """SepConv: 1x1 to twice the channels, depthwise 7x7, and back by a re-parameterised 3x3; each fed by a neuron."""
    middle = EXPANSION * channels
    depthwise = nn.Conv2d(middle, middle, KERNEL, padding=KERNEL // 2, groups=middle, bias=False)
    return MultiStep(
        neuron(),
        FromSpikes(nn.Conv2d(channels, middle, 1, bias=False), norm(middle)),
        neuron(),
        FromSpikes(depthwise, norm(middle)),
        neuron(),
        FromSpikes(RepConv(middle, channels, separable=True, eps=EPS, momentum=MOMENTUM), norm(channels)),
    )


class ConvolutionBlock(Residual):
    """SNN-Block-1 (AllConvBlock), for the high resolutions: the separable path, then two dense 3x3.

    Args:
        channels: C.
        ratio: the inner width of the second path is `ratio * C`.
        neuron: makes a neuron.
    """

    def __init__(self, channels: int, ratio: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.separable = separable(channels, neuron)
        self.mixing = MultiStep(
            spike_conv(channels, ratio * channels, 3, 1, neuron), spike_conv(ratio * channels, channels, 3, 1, neuron)
        )

    def sums(self) -> list[tuple[nn.Module, None]]:
        """Both paths, each beside the identity."""
        return [(self.separable, None), (self.mixing, None)]


class RepBlock(Residual):
    """SNN-Block-2 (ConvBlock), for the low resolutions: the separable path, then two re-parameterised 3x3.

    Args:
        channels: C.
        ratio: the inner width of the second path is `ratio * C`.
        neuron: makes a neuron.
    """

    def __init__(self, channels: int, ratio: int, neuron: NeuronFactory) -> None:
        super().__init__()
        inner = ratio * channels

        def rep(channels_in: int, channels_out: int) -> list[nn.Module]:
            convolution = RepConv(channels_in, channels_out, separable=False, eps=EPS, momentum=MOMENTUM)
            return [neuron(), FromSpikes(convolution, norm(channels_out))]

        self.separable = separable(channels, neuron)
        self.mixing = MultiStep(*rep(channels, inner), *rep(inner, channels))

    def sums(self) -> list[tuple[nn.Module, None]]:
        """Both paths, each beside the identity."""
        return [(self.separable, None), (self.mixing, None)]


class SPPF(nn.Module):
    """Spatial pyramid pooling: three poolings of 5x5 in a row, on membrane values, and all of them joined.

    Args:
        channels_in, channels_out: C and C'.
        neuron: makes a neuron.
    """

    def __init__(self, channels_in: int, channels_out: int, neuron: NeuronFactory) -> None:
        super().__init__()
        inner = channels_in // 2
        self.reduce = spike_conv(channels_in, inner, 1, 1, neuron)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = spike_conv(4 * inner, channels_out, 1, 1, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` to `[T, N, C', H, W]`."""
        levels = [self.reduce(x)]
        for _ in range(3):
            levels.append(over_time(levels[-1], self.pool))
        return self.join(joined(levels))
