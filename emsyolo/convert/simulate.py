"""A converted detector, run once and read out at many times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from emsyolo.model.detector import Detector
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.multistep import reset
from emsyolo.types import HeadMaps


def checked_times(times: Sequence[int]) -> list[int]:
    """The read-out times, each once, in their order.

    Raises:
        ValueError: none, or one below 1.
    """
    if not times or any(not isinstance(t, int) or isinstance(t, bool) or t < 1 for t in times):
        raise ValueError(f"T is {list(times)}; expected whole numbers of time steps, at least 1")
    return sorted(set(times))


def is_delayed(spiking: Detector) -> bool:
    """Whether its neurons need all steps of a T together, so that every T is a pass of its own."""
    return any(isinstance(one, IF) and one.rule == "delayed" for one in spiking.modules())


@torch.no_grad()  # under inference_mode SpikingJelly's counters see no convolution
def simulate(
    spiking: Detector, frames: Tensor, times: Sequence[int], *, chunk: int = 16
) -> Iterator[tuple[int, HeadMaps]]:
    """The head maps after T steps, for each T of `times`, from one pass over the largest.

    Steps are computed in chunks, in multi-step mode, so that memory does not grow with T; the head's input is summed.
    With `delayed` neurons, which need all steps of a T together, every T is a pass of its own, of one chunk.

    Args:
        spiking: of `convert`.
        frames: `[1, N, C, H, W]`.
        times: read-out times, at least 1 each.
        chunk: steps computed together, at most; at least 1, and for `delayed` neurons the largest T.

    Raises:
        ValueError: times below 1, or a chunk that is too small.
    """
    if chunk < 1:
        raise ValueError(f"convert.chunk is {chunk}; expected at least 1")
    times, delayed = checked_times(times), is_delayed(spiking)
    if delayed and times[-1] > chunk:
        raise ValueError(
            f"convert.chunk is {chunk}; expected at least T = {times[-1]}, for delayed neurons need all steps at once, "
            "in memory"
        )
    done = 0
    sums: list[Tensor] = []
    reset(spiking)
    try:
        for t in times:
            if delayed:
                reset(spiking)
                done, sums = 0, []
            while done < t:
                spiking.T = min(chunk, t - done)
                parts = [one.sum(dim=0, keepdim=True) for one in spiking.features(frames)]
                sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
                done += spiking.T
            yield t, spiking.head([one / t for one in sums])
    finally:
        spiking.T = 1
        reset(spiking)
