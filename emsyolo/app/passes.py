"""How a detector is run over a data set to be measured: read out at several steps, its activity counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from emsyolo.convert.depth import neurons_in_a_row
from emsyolo.evaluator.activity import Activity, ActivityMeter, until
from emsyolo.evaluator.alphabet import bare
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import waits_for_all
from emsyolo.types import HeadMaps

ANN = 0  # among the read-outs: the network that a converted one was made of


class Passes(Protocol):
    """What is measured.

    Attributes:
        detector: the network.
        times: steps after which it is read out, in order; the last is its T.
        reference: whether `maps` has the maps of an ANN, under `ANN`.
        ann: that network.
        batch_size: images at once where the throughput is measured; None: the data set's.
    """

    detector: Detector
    times: tuple[int, ...]
    reference: bool
    ann: Detector | None
    batch_size: int | None

    def maps(self, frames: Tensor) -> dict[int, HeadMaps]:
        """The head maps of a batch by read-out; what the network does on the way is counted."""

    def activities(self) -> dict[int, Activity]:
        """What it did up to each read-out."""

    def map_errors(self) -> dict[int, float]:
        """By read-out the root mean square by which the maps differ from the ANN's."""

    def latency(self, steps: int) -> int:
        """After how many steps the maps of a read-out are there."""

    def answer(self, frames: Tensor) -> HeadMaps:
        """The maps after the last step; uncounted, for a clock."""


def read_out_times(T: int, read_out: Sequence[int] | None) -> tuple[int, ...]:
    """The steps after which a network of T steps is read out, in order, T among them.

    Args:
        T: steps.
        read_out: what was asked for; None: the powers of two up to T.

    Raises:
        ValueError: a step below 1 or above T.
    """
    times = [2**i for i in range(T.bit_length())] if read_out is None else list(read_out)
    if any(not isinstance(t, int) or isinstance(t, bool) or not 1 <= t <= T for t in times):
        raise ValueError(f"read_out is {times}; expected whole numbers of steps from 1 to T = {T}")
    return tuple(sorted({*times, T}))


class Direct:
    """One pass over all steps.

    Args:
        detector: in evaluation mode.
        read_out: as for `read_out_times`.
    """

    reference: bool = False
    ann: Detector | None = None
    batch_size: int | None = None

    def __init__(self, detector: Detector, read_out: Sequence[int] | None = None) -> None:
        self.detector = detector
        self.times = read_out_times(detector.T, read_out)
        self._meter = ActivityMeter(detector, [f"head.{name}" for name in detector.head.map_starts])

    def maps(self, frames: Tensor) -> dict[int, HeadMaps]:
        """See `Passes`."""
        self._meter.expects = self.detector.T, frames.shape[1]
        with self._meter:
            maps = self.detector(frames, [range(t) for t in self.times])
        self._meter.step(frames.shape[1])
        return dict(zip(self.times, _bare(maps).split(len(self.times)), strict=True))

    def activities(self) -> dict[int, Activity]:
        """See `Passes`."""
        return {t: self._meter.activity(t, place) for place, t in enumerate(self.times)}

    def map_errors(self) -> dict[int, float]:
        """None: there is no ANN."""
        return {}

    def latency(self, steps: int) -> int:
        """See `Passes`."""
        return steps

    def answer(self, frames: Tensor) -> HeadMaps:
        """See `Passes`."""
        return self.detector(frames)


class Simulated:
    """A converted network, simulated once over the longest time; what it does between two read-outs is counted apart.

    Args:
        spiking: converted, in evaluation mode.
        read_out: as for `read_out_times`; None where neurons wait for all steps, whose scales are made for T: T.
        ann: what it was made of; None: not at hand.
    """

    batch_size: int | None = 1  # many steps take long

    def __init__(self, spiking: Detector, read_out: Sequence[int] | None = None, ann: Detector | None = None) -> None:
        self.detector = spiking
        self._waiting = waits_for_all(spiking)
        self._in_a_row = 0 if self._waiting is None else neurons_in_a_row(spiking)
        self.times = read_out_times(spiking.T, [spiking.T] if self._waiting and read_out is None else read_out)
        self.reference = ann is not None
        self.ann = ann
        self._meters = {t: ActivityMeter(spiking) for t in self.times}
        # Of differences from the ANN's maps, sums of means; kept on the device, so that nothing waits for it.
        self._squares: dict[int, Tensor | float] = dict.fromkeys(self.times, 0.0)
        self._images = 0

    def maps(self, frames: Tensor) -> dict[int, HeadMaps]:
        """See `Passes`."""
        found = {} if self.ann is None else {ANN: self.ann(frames)}
        passes = self.detector.read(frames, [range(t) for t in self.times])
        for t, meter in self._meters.items():
            with meter:
                maps = next(passes)
            meter.step(frames.shape[1])
            found[t] = _bare(maps)
            if self.ann is not None:
                apart = torch.cat([(a - b).flatten() for a, b in zip(found[t].maps, found[ANN].maps, strict=True)])
                self._squares[t] = self._squares[t] + apart.square().mean().double() * frames.shape[1]
        passes.close()
        self._images += frames.shape[1]
        return found

    def activities(self) -> dict[int, Activity]:
        """See `Passes`."""
        maps = {f"head.{name}" for name in self.detector.head.map_starts}
        return until(self._meters, maps=maps, alone=self._waiting is not None)

    def map_errors(self) -> dict[int, float]:
        """See `Passes`."""
        if self.ann is None:
            return {}
        return {t: (float(total) / self._images) ** 0.5 for t, total in self._squares.items()}

    def latency(self, steps: int) -> int:
        """See `Passes`."""
        return steps if self._waiting is None else steps + self._in_a_row * self._waiting.wait(steps)

    def answer(self, frames: Tensor) -> HeadMaps:
        """See `Passes`."""
        return self.detector(frames)


def _bare(maps: HeadMaps) -> HeadMaps:
    """The maps without what the meter noted on them."""
    return HeadMaps(tuple(bare(level) for level in maps.maps), maps.layout)
