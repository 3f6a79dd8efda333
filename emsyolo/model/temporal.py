"""A slow memory between neck and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from emsyolo.layer.multistep import joined, over_time
from emsyolo.neuron.kernels.layout import check_potential, potential_dtype

Channels = Sequence[int | Sequence[int]]  # of each level, or of each of the maps of each level


class TemporalFactory(Protocol):
    """Makes what stands between neck and head."""

    def __call__(self, channels: Channels) -> nn.Module:
        """A module of the neck's maps; `channels` are those of the neck."""


def temporal_behind(neck: nn.Module, temporal: TemporalFactory | None) -> nn.Module | None:
    """The temporal part for the maps of a neck; None: there is none."""
    behind: Any = neck
    return temporal(behind.out_channels) if temporal else None


class ConvLSTM(base.MemoryModule):
    """A convolutional LSTM whose hidden state is added to what it reads.

        i, f, o, g = input(x[t]) + recurrent(h[t-1])
        c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g),    h[t] = sigmoid(o) * tanh(c[t])
        y[t] = x[t] + output(h[t])

    `input` and `output` are convolutions of 1x1; `recurrent` is a depthwise one, so that memories can move with what
    they remember, and then one of 1x1. `output` starts at 0, so that y is x at first. Memories start with time
    constants spread evenly from 1 step to the longest.

    Shi et al., NeurIPS 2015; the hidden state added to the features as in EvRT-DETR (Torbunov et al., 2024,
    realtime-intelligence/evrt-detr); depthwise and 1x1 as in RVT (Gehrig and Scaramuzza, CVPR 2023). The biases of i
    and f are -log(d) and log(d) of a time constant d + 1 as in Tallec and Ollivier, ICLR 2018, who draw it.

    Keeps h and c between calls, with the graph that led to them: a training that goes on from a state cuts it by
    `State.detach`. Both are in float32 where maps are in half precision.

    Args:
        channels: C.
        hidden: channels of h and c.
        kernel: of the depthwise convolution, odd.
        longest_steps: the largest time constant at the start, steps, > 1.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, longest_steps: float) -> None:
        super().__init__()
        self.step_mode = "m"
        self.input = nn.Conv2d(channels, 4 * hidden, 1)
        self.recurrent = nn.Sequential(
            nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False),
            nn.Conv2d(hidden, 4 * hidden, 1, bias=False),
        )
        self.output = nn.Conv2d(hidden, channels, 1, bias=False)
        self.h: Tensor | None
        self.c: Tensor | None
        self.register_memory("h", None)
        self.register_memory("c", None)
        nn.init.zeros_(self.output.weight)
        longest = torch.linspace(1.0, longest_steps, hidden + 1)[1:]
        assert self.input.bias is not None
        with torch.no_grad():
            self.input.bias[:hidden] = -(longest - 1).log()
            self.input.bias[hidden : 2 * hidden] = (longest - 1).log()
            self.input.bias[2 * hidden :] = 0

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` in and out.

        Raises:
            ValueError: its memories are of another number of samples, or of maps of another size.
        """
        read = over_time(x.to(self.input.get_parameter("weight").dtype), self.input)
        read = read.to(potential_dtype(read.dtype))
        empty = torch.zeros_like(read[0, :, : self.output.in_channels])
        h = empty if self.h is None else self.h
        c = empty if self.c is None else self.c
        check_potential(h, empty[None])
        out = []
        for step in read:
            i, f, o, g = (step + self.recurrent(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(h)
        self.h, self.c = h, c
        # Joined along N: `torch.stack` would not keep channels_last.
        return x + over_time(torch.cat(out).unflatten(0, (len(out), -1)), self.output)


class ConvLSTMs(nn.Module):
    """A `ConvLSTM` for each level of a detector; one that has several maps, for boxes and classes, shares it.

    Args:
        channels: of the neck's maps, per level a number, or one for each of its maps.
        hidden: channels of each memory.
        kernel: of the depthwise convolution, odd.
        longest_steps: the largest time constant at the start, steps.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(self, channels: Channels, *, hidden: int = 64, kernel: int = 3, longest_steps: float = 64) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"temporal.hidden is {hidden}; expected a number of channels, at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"temporal.kernel is {kernel}; expected an odd number of px")
        if not longest_steps > 1:
            raise ValueError(f"temporal.longest_steps is {longest_steps}; expected a number of steps > 1")
        self.widths = [[level] if isinstance(level, int) else list(level) for level in channels]
        self.levels = nn.ModuleList(ConvLSTM(sum(widths), hidden, kernel, longest_steps) for widths in self.widths)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the head reads, `[T, N, C, H, W]` per map, small stride first: in and out."""
        found: list[Tensor] = []
        rest = list(maps)
        for level, widths in zip(self.levels, self.widths, strict=True):
            mine, rest = rest[: len(widths)], rest[len(widths) :]
            found += level(joined(mine)).split(widths, dim=2)
        return tuple(found)
