"""The detector: encode, backbone, neck, temporal part, head."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any, Self

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from emsyolo.layer.multistep import over_steps
from emsyolo.model.encode import Encode
from emsyolo.model.head import Head
from emsyolo.neuron.neuron import waits_for_all
from emsyolo.neuron.state import State, fresh, put, take, unread
from emsyolo.types import HeadMaps


class Detector(nn.Module):
    """Frames in, head maps out; loss and postprocessing are separate.

    Keeps no state between calls: potentials begin at their start and are forgotten afterwards, and no copy has any.

    Args:
        encode: makes T steps of the frames.
        backbone: `[T, N, C, H, W]` to maps, small stride first.
        neck: those maps to the head's inputs.
        head: the head's inputs to head maps.
        temporal: the head's inputs in and out, with a memory of its own; None: there is none.

    Attributes:
        chunk: steps computed together, at most; what the head reads is summed, so that memory does not grow with T.
            None: all.
        frozen: names of the parts that are not trained (`train_only`).
    """

    def __init__(
        self, encode: Encode, backbone: nn.Module, neck: nn.Module, head: Head, temporal: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encode = encode
        self.backbone = backbone
        self.neck = neck
        self.temporal = temporal
        self.head = head
        self.frozen: tuple[str, ...] = ()
        self.chunk: int | None = None
        for module in self.modules():
            if isinstance(module, BaseNode):  # SpikingJelly's own begin in single-step mode
                module.step_mode = "m"
        if any(is_lazy(parameter) for parameter in self.parameters()):
            self._count_channels()

    def __deepcopy__(self, memo: dict[int, Any]) -> Detector:
        with fresh(self):
            copied = type(self).__new__(type(self))
            memo[id(self)] = copied
            copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied

    @property
    def T(self) -> int:
        """Number of time steps; may be set, also after training."""
        return self.encode.T

    @T.setter
    def T(self, steps: int) -> None:
        self.encode.T = steps

    def train_only(self, parts: Collection[str]) -> None:
        """Train these parts alone: the others keep their weights and, in training too, their running statistics.

        Raises:
            ValueError: no part, or a name that none has.
        """
        known = [name for name, part in self.named_children() if any(True for _ in part.parameters())]
        if not parts or not set(parts) <= set(known):
            raise ValueError(
                f"trainable is {list(parts)}; expected some of this detector's parts, {known}, or null: all"
            )
        self.frozen = tuple(name for name in known if name not in parts)
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As of every module, but parts that are not trained stay as they are evaluated."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, frames: Tensor, read_out: Sequence[range] | None = None) -> HeadMaps:
        """Head maps of frames `[T0, N, C, H, W]`, uint8 or float in [0, 1]; T0 = 1 or T.

        Args:
            frames: see above.
            read_out: see `run`.

        Raises:
            ValueError: T0 is neither 1 nor T, or H or W is not a multiple of the largest stride.
        """
        if self.chunk is not None:  # what is remembered is read by the next chunk
            return self.run(frames, read_out=read_out)[0]
        with unread(self):
            return self.run(frames, read_out=read_out)[0]

    def run(
        self,
        frames: Tensor,
        state: State | None = None,
        read_out: Sequence[range] | None = None,
        steps: int | None = None,
    ) -> tuple[HeadMaps, State]:
        """Head maps of frames, and what the network remembers after them, for the next call to go on from.

        Args:
            frames: see `forward`.
            state: what the last call gave; None: everything at its start.
            read_out: ranges of the steps of these frames, each of which is read out as the mean over it, their ends in
                order; None: all steps. The maps of several lie one after the other along N (`HeadMaps.split`).
            steps: how many these frames are, where they are another part of a stream than T steps.

        Raises:
            ValueError: as `forward`; a state of another network or batch; ranges outside the steps or out of order.
        """
        with fresh(self):
            if state is not None:
                put(self, state)
            found = list(self._read(frames, read_out, steps))
            return HeadMaps.joined(found), take(self)

    def read(self, frames: Tensor, read_out: Sequence[range]) -> Generator[HeadMaps]:
        """The head maps of `run` from nothing, range by range, each as soon as its last step is computed."""
        with fresh(self):
            yield from self._read(frames, read_out)

    def _read(self, frames: Tensor, read_out: Sequence[range] | None, steps: int | None = None) -> Iterator[HeadMaps]:
        x = self.encode(frames, next(self.backbone.parameters()).dtype, steps)
        ranges = self._checked(len(x), read_out)
        if (waiting := waits_for_all(self)) is not None:
            yield from self._alone(x, ranges, waiting.step_weights)
        elif self.chunk is None:
            features = self._features(x)
            for span in ranges:
                yield self.head([feature[span.start : span.stop] for feature in features])
        else:
            yield from self._in_chunks(x, ranges, self.chunk)

    @torch.no_grad()
    def _count_channels(self) -> None:
        """Let neurons that have parameters per channel see their channels: one step of one dark frame, uncounted."""
        first = next(module for module in self.backbone.modules() if isinstance(module, nn.Conv2d))
        side = self.head.layout.strides[-1]
        with fresh(self.eval()):
            self._features(first.weight.new_zeros(1, 1, first.in_channels, side, side))
        self.train()

    def _checked(self, steps: int, read_out: Sequence[range] | None) -> list[range]:
        ranges = [range(steps)] if read_out is None else list(read_out)
        ends = [span.stop for span in ranges]
        inside = all(span.step == 1 and 0 <= span.start < span.stop <= steps for span in ranges)
        if not ranges or not inside or ends != sorted(ends):
            raise ValueError(f"read_out is {ranges}; expected ranges within the {steps} steps, their ends in order")
        return ranges

    def _in_chunks(self, x: Tensor, ranges: Sequence[range], chunk: int) -> Iterator[HeadMaps]:
        sums: dict[int, list[Tensor]] = {}  # of what the head reads, by the first step of a range
        done = 0
        for end in sorted({*(span.start for span in ranges), *(span.stop for span in ranges), len(x)}):
            while done < end:
                steps = min(chunk, end - done)
                features = self._features(x[done : done + steps])
                parts = [over_steps(feature, _total) for feature in features] if steps > 1 else list(features)
                for start in {span.start for span in ranges if span.start <= done < span.stop}:
                    before = sums.get(start)
                    sums[start] = [a + b for a, b in zip(before, parts, strict=True)] if before else parts
                done += steps
            for span in ranges:
                if span.stop == end:
                    count = len(span)
                    yield self.head([total / count if count > 1 else total for total in sums[span.start]])

    def _alone(self, x: Tensor, ranges: Sequence[range], weights_of: Callable[[int], Tensor]) -> Iterator[HeadMaps]:
        """For neurons that need all steps of a range together: a pass for each, in memory.

        The head reads the mean over the steps, each weighted by what its spikes stand for.
        """
        if any(span.start for span in ranges):
            raise ValueError(
                f"read_out is {list(ranges)}; expected ranges from 0, since these neurons wait for all steps"
            )
        if self.chunk is not None and len(x) > self.chunk:
            raise ValueError(
                f"convert.chunk is {self.chunk}; expected at least T = {len(x)}, since these neurons wait for all "
                "steps, in memory"
            )
        before = take(self)
        for steps in ranges:
            put(self, before)
            features = self._features(x[: steps.stop])
            weights = weights_of(steps.stop).to(features[0])
            shares = (weights / weights.sum()).view(-1, 1, 1, 1, 1)
            yield self.head([over_steps(shares * feature, _total) for feature in features])

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the head reads, per scale `[T, N, C, H, W]`; goes on from the network's memories and leaves its own."""
        stride = self.head.layout.strides[-1]
        if x.shape[-2] % stride or x.shape[-1] % stride:
            raise ValueError(f"frames are {x.shape[-2]}x{x.shape[-1]} px (HxW); expected multiples of {stride}")
        features: tuple[Tensor, ...] = self.neck(*self.backbone(x))
        return features if self.temporal is None else self.temporal(features)


def _total(steps: Tensor) -> Tensor:
    """The sum over T, as one step."""
    return steps.sum(dim=0, keepdim=True)
