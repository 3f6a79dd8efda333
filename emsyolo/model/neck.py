"""The neck of YOLOv3-tiny in blocks: two scales, the coarse one fed back into the fine one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

from emsyolo.layer.multistep import MultiStep, joined, over_time
from emsyolo.layer.stages import Stages
from emsyolo.model.block import BlockFactory, conv_norm
from emsyolo.neuron.neuron import NeuronFactory
from emsyolo.neuron.silu import LeakySiLU


class TinyNeck(Stages):
    """From stage 3 (stride 16) and stage 4 (stride 32) to the two maps that the head reads.

    Args:
        fine: channels of stage 3.
        coarse: channels of stage 4.
        block: makes a block.
        neuron: makes a neuron.
        reduce_inner: inner width of the first block; None is its output width.
        silu: the last layer of each scale is convolution, normalisation, leaky SiLU (two published networks) instead of
            a block; then the maps are fed by, but no convolution before them is, real values.
    """

    def __init__(
        self,
        fine: int,
        coarse: int,
        block: BlockFactory,
        neuron: NeuronFactory,
        *,
        reduce_inner: int | None = None,
        silu: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = (fine, coarse)
        lateral = coarse // 4

        def last(channels_in: int, channels_out: int) -> nn.Module:
            if not silu:
                return block(channels_in, channels_out, stride=1, kernel=3, inner=None, neuron=neuron)
            spiking = neuron()
            if not hasattr(spiking, "decay"):
                raise ValueError(
                    "model.head_activation=silu takes the decay of the network's neurons, and "
                    f"{type(spiking).__name__} has none; expected head_activation=lif, or neurons with a decay"
                )
            layers = conv_norm(channels_in, channels_out, 3, 1, spiking.v_threshold)
            return MultiStep(*layers, LeakySiLU(spiking.decay))

        self.reduce = block(coarse, coarse // 2, stride=1, kernel=3, inner=reduce_inner, neuron=neuron)
        self.last5 = last(coarse // 2, coarse)
        self.lateral = block(coarse // 2, lateral, stride=1, kernel=1, inner=None, neuron=neuron)
        self.last4 = last(lateral + fine, fine)

    def forward(self, stage3: Tensor, stage4: Tensor) -> tuple[Tensor, Tensor]:
        """Maps at stride 16 `[T, N, fine, H/16, W/16]` and stride 32 `[T, N, coarse, H/32, W/32]`."""
        reduced = self.stage(self.reduce, stage4)
        up = over_time(self.stage(self.lateral, reduced), lambda x: interpolate(x, scale_factor=2.0, mode="nearest"))
        fine = self.stage(self.last4, joined((up, stage3)))
        return fine, self.stage(self.last5, reduced)
