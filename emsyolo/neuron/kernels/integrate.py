"""The integrate-and-fire neuron with soft reset for a CPU: all steps in one pass over the memory, compiled by numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emsyolo.neuron.kernels.compiled import BLOCK, SHARE, memory
from emsyolo.neuron.kernels.layout import like_rows, rows_of
from emsyolo.neuron.kernels.team import in_team, shared


def forward(
    x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.if_steps`."""
    x = rows_of(x)
    spikes = like_rows(x, len(x), x.dtype)
    last, total = like_rows(x, 1, x.dtype).copy_(v), like_rows(x, 1, x.dtype).copy_(net)
    rows = x[:1] if x.stride(0) == 0 else x
    maps = (memory(rows), memory(last)[0], memory(total)[0], memory(spikes))
    shared(x[0].numel(), SHARE, _steps, _steps_by_all, *maps, np.float32(negative), np.float32(repay), needs_spike)
    return spikes, last[0], total[0]


@numba.njit(cache=True, nogil=True)
def _steps(
    x: NDArray[Any],
    v: NDArray[Any],
    net: NDArray[Any],
    spikes: NDArray[Any],
    negative: Any,
    repay: Any,
    needs_spike: bool,
    begin: int,
    end: int,
) -> None:
    one, none = np.float32(1), np.float32(0)
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        for t in range(len(spikes)):
            row = min(t, len(x) - 1)
            for i in range(start, stop):
                u = v[i] + x[row, i]
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


@numba.njit(cache=True, nogil=True)
def _steps_by_all(count: int, threads: int, *arguments: Any) -> None:
    in_team(_steps, count, threads, arguments)  # type: ignore[call-arg]
