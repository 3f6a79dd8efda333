"""SpikeYOLO: backbone, neck, and their assembly."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from emsyolo.layer.multistep import joined, over_time
from emsyolo.layer.stages import Stages
from emsyolo.model.detector import Detector
from emsyolo.model.encode import Encode
from emsyolo.model.head import HeadFactory
from emsyolo.model.spike_block import SPPF, ConvolutionBlock, Downsampling, RepBlock, spike_conv
from emsyolo.model.temporal import TemporalFactory, temporal_behind
from emsyolo.model.towers import anchor_free
from emsyolo.neuron.neuron import NeuronFactory, check_neuron

STRIDES = (8, 16, 32)
CHANNELS = (128, 256, 512, 1024)  # of the four stages, before the width
REPEATS = (3, 6, 9, 3)  # of the four stages, before the depth
RATIOS = (4, 4, 3, 2)
ROUNDED = 8  # the channels of SPPF are a multiple of it


class SpikeYOLOBackbone(Stages):
    """Stages at strides 4, 8, 16 and 32, each a convolution with stride and blocks, and the pyramid pooling.

    Args:
        channels: of the four stages.
        repeats: blocks per stage.
        neuron: makes a neuron.
        in_channels: of a frame.
    """

    def __init__(
        self, channels: Sequence[int], repeats: Sequence[int], neuron: NeuronFactory, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = in_channels
        for i, (after, count, ratio) in enumerate(zip(channels, repeats, RATIOS, strict=True)):
            block = ConvolutionBlock if i < 2 else RepBlock
            blocks = [block(after, ratio, neuron) for _ in range(count)]
            self.stages.append(nn.Sequential(Downsampling(before, after, neuron if i else None), *blocks))
            before = after
        self.out_channels = (channels[1], channels[2], -(-before // ROUNDED) * ROUNDED)
        self.pool = SPPF(before, self.out_channels[-1], neuron)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[T, N, C, H, W]` to the maps at strides 8, 16 and 32."""
        found = []
        for stage in self.stages:
            for part in stage.children():
                x = self.stage(part, x)
            found.append(x)
        return found[1], found[2], self.stage(self.pool, x)


class SpikeYOLONeck(Stages):
    """A pyramid from the coarse scale to the fine one and back.

    Args:
        channels: of the backbone's maps at strides 8, 16 and 32.
        last_ratio: of the block at the end of the coarse scale; published: 1 (n, s) and 2 (m, l).
        neuron: makes a neuron.
    """

    def __init__(self, channels: Sequence[int], last_ratio: int, neuron: NeuronFactory) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.reduce5 = spike_conv(coarse, middle, 1, 1, neuron)
        self.up4 = RepBlock(middle, 3, neuron)
        self.reduce4 = spike_conv(middle + middle, fine, 1, 1, neuron)
        self.up3 = ConvolutionBlock(fine, 4, neuron)
        self.reduce3 = spike_conv(2 * fine, fine, 1, 1, neuron)
        self.out3 = ConvolutionBlock(fine, 4, neuron)
        self.down4 = spike_conv(fine, fine, 3, 2, neuron)
        self.out4 = RepBlock(2 * fine, 3, neuron)
        self.down5 = spike_conv(2 * fine, middle, 3, 2, neuron)
        self.out5 = RepBlock(2 * middle, last_ratio, neuron)
        self.out_channels = (fine, 2 * fine, 2 * middle)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at strides 8, 16 and 32."""
        p5 = self.stage(self.reduce5, coarse)
        p4 = self.stage(self.reduce4, joined((self.stage(self.up4, _twice(p5)), middle)))
        p3 = self.stage(self.reduce3, joined((self.stage(self.up3, _twice(p4)), fine)))
        out3 = self.stage(self.out3, p3)
        out4 = self.stage(self.out4, joined((self.stage(self.down4, out3), p4)))
        out5 = self.stage(self.out5, joined((self.stage(self.down5, out4), p5)))
        return out3, out4, out5


def _twice(x: Tensor) -> Tensor:
    """Maps of twice the size."""
    return over_time(x, lambda step: interpolate(step, scale_factor=2.0, mode="nearest"))


def spike_yolo(
    *,
    T: int,
    num_classes: int,
    neuron: NeuronFactory,
    width: float = 0.375,
    depth: float = 0.33,
    last_ratio: int = 1,
    repeats: Sequence[int] = REPEATS,
    head: HeadFactory | None = None,
    in_channels: int = 3,
    temporal: TemporalFactory | None = None,
) -> Detector:
    """A detector of the SpikeYOLO family. Luo et al., ECCV 2024.

    Args:
        T: time steps.
        num_classes: K.
        neuron: makes a neuron.
        width: factor on all channels; published: 0.375, 0.5, 0.625, 0.75 (n, s, m, l).
        depth: factor on the repeats; published: 0.33 (n, s) and 0.5 (m, l).
        last_ratio: of the last block of the coarse scale: 1 (n, s) and 2 (m, l).
        repeats: blocks of the four stages, before the depth; published for Gen1: 3, 6, 9, 1.
        head: makes the head, and the neck with what stands before the head; None is `anchor_free`.
        in_channels: of a frame.
        temporal: makes what stands between neck and head; None: nothing does.

    Raises:
        ValueError: an argument outside its range.
    """
    check_neuron(neuron)
    for name, value in (("width", width), ("depth", depth)):
        if not value > 0:
            raise ValueError(f"model.{name} is {value}; expected a factor > 0")
    if last_ratio < 1:
        raise ValueError(f"model.last_ratio is {last_ratio}; expected a whole number, at least 1")
    if len(repeats) != len(CHANNELS) or min(repeats) < 1:
        raise ValueError(f"model.repeats is {list(repeats)}; expected four numbers of blocks, each at least 1")
    channels = [max(1, int(c * width)) for c in CHANNELS]
    counts = [max(round(n * depth), 1) if n > 1 else n for n in repeats]
    backbone = SpikeYOLOBackbone(channels, counts, neuron, in_channels)
    neck = SpikeYOLONeck(backbone.out_channels, last_ratio, neuron)
    if head is not None and not callable(head):
        raise ValueError("head=anchor: SpikeYOLO has no anchors; expected head=anchor_free")
    towers, maps = (head or anchor_free)(neck, neck.out_channels, STRIDES, num_classes, neuron)
    return Detector(Encode(T), backbone, towers, maps, temporal_behind(towers, temporal))
