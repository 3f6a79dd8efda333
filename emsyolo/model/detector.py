"""The detector: encode, backbone, neck, head."""

from __future__ import annotations

from torch import Tensor, nn

from emsyolo.model.encode import Encode
from emsyolo.model.head import YOLOHead
from emsyolo.neuron.state import State, fresh, put, take
from emsyolo.types import HeadMaps


class Detector(nn.Module):
    """Frames in, head maps out; loss and postprocessing are separate.

    Keeps no state between calls of `forward` and `run`: potentials begin at their start and are forgotten afterwards.

    Args:
        encode: makes T steps of the frames.
        backbone: `[T, N, C, H, W]` to maps, small stride first.
        neck: those maps to the head's inputs.
        head: the head's inputs to head maps.
    """

    def __init__(self, encode: Encode, backbone: nn.Module, neck: nn.Module, head: YOLOHead) -> None:
        super().__init__()
        self.encode = encode
        self.backbone = backbone
        self.neck = neck
        self.head = head

    @property
    def T(self) -> int:
        """Number of time steps; may be set, also after training."""
        return self.encode.T

    @T.setter
    def T(self, steps: int) -> None:
        self.encode.T = steps

    def forward(self, frames: Tensor) -> HeadMaps:
        """Head maps of frames `[T0, N, C, H, W]`, uint8 or float in [0, 1]; T0 = 1 or T.

        Raises:
            ValueError: T0 is neither 1 nor T, or H or W is not a multiple of the largest stride.
        """
        return self.run(frames)[0]

    def run(self, frames: Tensor, state: State | None = None) -> tuple[HeadMaps, State]:
        """Head maps of frames, and what the network remembers after them, for the next call to go on from.

        The detector itself is left as it was: a state is a value.

        Args:
            frames: see `forward`.
            state: what the last call gave; None: everything at its start.

        Raises:
            ValueError: as `forward`, or a state of another network or batch.
        """
        with fresh(self):
            if state is not None:
                put(self, state)
            maps = self.head(self.features(frames))
            return maps, take(self)

    def advance(self, frames: Tensor) -> HeadMaps:
        """As `forward`, but from the state that the last call left in the detector, and leaving its own."""
        return self.head(self.features(frames))

    def features(self, frames: Tensor) -> tuple[Tensor, ...]:
        """What the head reads, per scale `[T, N, C, H, W]`; state as of `advance`."""
        stride = self.head.strides[-1]
        if frames.shape[-2] % stride or frames.shape[-1] % stride:
            raise ValueError(
                f"frames are {frames.shape[-2]}x{frames.shape[-1]} px (HxW); expected multiples of {stride}"
            )
        x = self.encode(frames, next(self.backbone.parameters()).dtype)
        return self.neck(*self.backbone(x))
