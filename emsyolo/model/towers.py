"""What stands between a neck and a decoupled head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.stages import Stages
from emsyolo.model.head import Head
from emsyolo.model.point_head import PointHead
from emsyolo.model.spike_block import spike_conv
from emsyolo.neuron.neuron import NeuronFactory


class Towers(Stages):
    """A neck, and behind each of its scales two towers, for boxes and for classes, that end in a neuron.

    Args:
        neck: gives a map per scale.
        widths: channels of those maps.
        towers: channels of the towers of boxes and of classes.
        neuron: makes a neuron.
    """

    ends_in_neurons = True  # what the head reads is spikes

    def __init__(self, neck: nn.Module, widths: Sequence[int], towers: tuple[int, int], neuron: NeuronFactory) -> None:
        super().__init__()
        boxes, classes = towers
        self.neck = neck
        self.boxes = nn.ModuleList(_tower(width, boxes, neuron) for width in widths)
        self.classes = nn.ModuleList(_tower(width, classes, neuron) for width in widths)
        self.out_channels = [towers for _ in widths]

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """The ends of the towers, `[T, N, C, H, W]`: per scale that of boxes, then that of classes."""
        levels = zip(self.boxes, self.classes, self.neck(*maps), strict=True)
        return tuple(self.stage(tower, x) for boxes, classes, x in levels for tower in (boxes, classes))


def _tower(channels: int, width: int, neuron: NeuronFactory) -> nn.Module:
    return MultiStep(spike_conv(channels, width, 3, 1, neuron), spike_conv(width, width, 3, 1, neuron), neuron())


def tower_widths(finest: int, num_classes: int, bins: int) -> tuple[int, int]:
    """Channels of the towers of boxes and of classes, as in YOLOv8.

    Args:
        finest: channels of the finest scale.
        num_classes: K.
        bins: of the distribution of a side.
    """
    return max(16, finest // 4, 4 * bins), max(finest, min(num_classes, 100))


def anchor_free(
    neck: nn.Module,
    widths: Sequence[int],
    strides: Sequence[int],
    num_classes: int,
    neuron: NeuronFactory,
    *,
    bins: int = 16,
    tower: Sequence[int] | None = None,
) -> tuple[nn.Module, Head]:
    """An anchor-free head, and the neck with the head's towers.

    Args:
        neck: without them.
        widths: channels of its maps, small stride first.
        strides: of those.
        num_classes: K.
        neuron: makes a neuron.
        bins: of the distribution of a side.
        tower: channels of the towers of boxes and of classes; None: those of YOLOv8.
    """
    wanted = tower_widths(widths[0], num_classes, bins) if tower is None else (tower[0], tower[1])
    towers = Towers(neck, widths, wanted, neuron)
    return towers, PointHead(towers.out_channels, strides, num_classes, bins)
