"""The integrate-and-fire neuron with soft reset for a CPU: all steps in one pass over the memory."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 2048  # neurons whose potentials stay in the fastest cache while time runs


def if_steps(x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool) -> Tensor:
    """Spikes `[T, *]` in {-1, 0, 1} of currents `[T, *]`; potential and net number of spikes are moved on in place.

    A spike where the potential reaches 1, which takes 1 away. A negative spike where it falls to `negative` or below,
    which gives `repay` back; with `needs_spike` only as long as the neuron has fired more often than it took back.

    Args:
        x: currents in units of the threshold, float32, `T >= 1`.
        v: potentials `[*]`, float32, contiguous.
        net: spikes minus negative spikes so far `[*]`, float32, contiguous.
        negative: at or below which a negative spike is sent; `-inf` for never.
        repay: what a negative spike adds to the potential.
        needs_spike: see above.
    """
    x = x.contiguous()
    spikes = torch.empty_like(x)
    _steps(
        x.view(len(x), -1).numpy(), v.view(-1).numpy(), net.view(-1).numpy(), spikes.view(len(x), -1).numpy(),
        np.float32(negative), np.float32(repay), needs_spike,
    )  # fmt: skip
    return spikes


@numba.njit(cache=True, nogil=True)
def _steps(
    x: NDArray[Any],
    v: NDArray[Any],
    net: NDArray[Any],
    spikes: NDArray[Any],
    negative: Any,
    repay: Any,
    needs_spike: bool,
) -> None:
    steps, neurons = x.shape
    one, none = np.float32(1), np.float32(0)
    for start in range(0, neurons, BLOCK):
        stop = min(start + BLOCK, neurons)
        for t in range(steps):
            for i in range(start, stop):
                u = v[i] + x[t, i]
                fired = none
                if u >= one:
                    fired = one
                    u -= one
                elif u <= negative and (not needs_spike or net[i] > none):
                    fired = -one
                    u += repay
                v[i] = u
                net[i] += fired
                spikes[t, i] = fired
