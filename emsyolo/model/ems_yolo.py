"""EMS-YOLO, its baselines and its ANN twins: one assembly, told apart by block and neuron."""

from __future__ import annotations

from collections.abc import Sequence

from emsyolo.model.block import BlockFactory
from emsyolo.model.detector import Detector
from emsyolo.model.encode import Encode
from emsyolo.model.head import HeadFactory, YOLOHead
from emsyolo.model.neck import TinyNeck
from emsyolo.model.resnet import REPEATS, ResNet
from emsyolo.model.temporal import TemporalFactory, temporal_behind
from emsyolo.neuron.neuron import NeuronFactory, check_neuron

STRIDES = (16, 32)
CHANNELS = (64, 64, 128, 256, 512)
HEAD_ACTIVATIONS = ("lif", "silu")


def ems_yolo(
    *,
    T: int,
    num_classes: int,
    anchors: Sequence[Sequence[Sequence[float]]],
    neuron: NeuronFactory,
    block: BlockFactory,
    head_block: BlockFactory,
    depth: int | Sequence[int] = 34,
    width: float | Sequence[float] = 1.0,
    reduce_inner: int | None = None,
    stem_neuron: bool = False,
    head_activation: str = "lif",
    in_channels: int = 3,
    anchors_per_level: Sequence[int] | None = None,
    head: HeadFactory | None = None,
    temporal: TemporalFactory | None = None,
) -> Detector:
    """A detector of the EMS-YOLO family.

    Args:
        T: time steps.
        num_classes: K.
        anchors: per stride (16, then 32) a list of (width, height) in px.
        neuron: makes a neuron; it has `v_threshold`.
        block: makes the backbone's blocks.
        head_block: makes the neck's blocks.
        depth: 10, 18, 34, or the number of blocks in each of the four stages.
        width: factor on all channels, or one each for the stem and the four stages; rounded to multiples of 8.
        reduce_inner: inner width, before the last stage's `width`, of the neck's first block; None is its output width.
        stem_neuron: a neuron after the stem (SEW).
        head_activation: `lif`: the neck ends in blocks; `silu`: in the non-spiking layer of two published networks.
        in_channels: of a frame.
        anchors_per_level: how many, per stride; what `anchors: auto` finds. None: as many as there are.
        head: makes another head than the YOLO head with those anchors.
        temporal: makes what stands between neck and head; None: nothing does.

    Raises:
        ValueError: an argument outside its range.
    """
    repeats = REPEATS.get(depth, ()) if isinstance(depth, int) else tuple(depth)
    if len(repeats) != 4 or min(repeats) < 1:
        raise ValueError(
            f"model.depth is {depth}; expected one of {sorted(REPEATS)} or four block counts, each at least 1"
        )
    widths = (width,) * len(CHANNELS) if isinstance(width, int | float) else tuple(width)
    if len(widths) != len(CHANNELS) or not min(widths) > 0:
        raise ValueError(f"model.width is {width}; expected a factor > 0, or one each for the stem and the four stages")
    if head_activation not in HEAD_ACTIVATIONS:
        raise ValueError(f"model.head_activation is {head_activation!r}; expected one of {HEAD_ACTIVATIONS}")

    check_neuron(neuron)

    def scaled(channels: int, factor: float) -> int:
        return max(8, round(channels * factor / 8) * 8)

    channels = [scaled(c, factor) for c, factor in zip(CHANNELS, widths, strict=True)]
    neck = TinyNeck(
        channels[3],
        channels[4],
        head_block,
        neuron,
        reduce_inner=scaled(reduce_inner, widths[-1]) if reduce_inner else None,
        silu=head_activation == "silu",
    )
    backbone = ResNet(channels, repeats, block, neuron, stem_neuron=stem_neuron, in_channels=in_channels)
    if head:
        towers, maps = head(neck, neck.out_channels, STRIDES, num_classes, neuron)
        return Detector(Encode(T), backbone, towers, maps, temporal_behind(towers, temporal))
    anchored = YOLOHead(neck.out_channels, STRIDES, anchors, num_classes, anchors_per_level=anchors_per_level)
    return Detector(Encode(T), backbone, neck, anchored, temporal_behind(neck, temporal))
