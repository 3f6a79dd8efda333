"""The residual backbone: a stem and four stages of blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from emsyolo.layer.multistep import MultiStep, Residual
from emsyolo.layer.stages import Stages
from emsyolo.model.block import BlockFactory, conv_norm
from emsyolo.neuron.neuron import NeuronFactory

REPEATS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class ResNet(Stages):
    """Backbone of EMS-YOLO and its baselines; the first block of every stage has stride 2.

    Gives the maps of stages 3 and 4, at strides 16 and 32. Su et al., ICCV 2023, Table 1.

    Args:
        channels: of the stem and of the four stages.
        repeats: blocks per stage.
        block: makes a block.
        neuron: makes a neuron.
        stem_neuron: a neuron after the stem, which SEW networks have.
        in_channels: of a frame.
    """

    def __init__(
        self,
        channels: Sequence[int],
        repeats: Sequence[int],
        block: BlockFactory,
        neuron: NeuronFactory,
        *,
        stem_neuron: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        stem = conv_norm(in_channels, channels[0], 7, 2, neuron().v_threshold)
        self.stem = MultiStep(*stem, neuron()) if stem_neuron else MultiStep(*stem)
        self.stages = nn.ModuleList()
        for before, after, count in zip(channels, channels[1:], repeats, strict=False):
            first = block(before, after, stride=2, kernel=3, inner=None, neuron=neuron)
            more = [block(after, after, stride=1, kernel=3, inner=None, neuron=neuron) for _ in range(count - 1)]
            blocks = [first, *more]
            # A block of another kind sees steps and samples apart, as a row's layers do not.
            one_row = all(isinstance(one, Residual | MultiStep) for one in blocks)
            self.stages.append(MultiStep(*blocks) if one_row else nn.Sequential(*blocks))

    def parts(self) -> list[tuple[str, nn.Module]]:
        """Its parts in a row, by name: the stem, then block by block."""
        blocks = [
            (f"stages.{i}.{name}", child)
            for i, stage in enumerate(self.stages)
            for name, child in stage.named_children()
        ]
        return [("stem", self.stem), *blocks]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, N, C, H, W]` to the maps of stage 3 `[T, N, C3, H/16, W/16]` and stage 4 `[T, N, C4, H/32, W/32]`."""
        x = self.stage(self.stem, x)
        for stage in self.stages[:-1]:
            x = self.stage(stage, x)
        return x, self.stage(self.stages[-1], x)
