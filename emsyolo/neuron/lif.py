"""The leaky integrate-and-fire neuron of EMS-YOLO, as a function and as a SpikingJelly node."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from emsyolo.neuron.kernels import compiled, reference

Backend = Literal["auto", "torch", "numba", "spikingjelly"]


def _check(decay: float, v_threshold: float, surrogate_width: float) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"neuron.decay is {decay}; expected the share of the potential kept per step, in [0, 1)")
    if not v_threshold > 0:
        raise ValueError(f"neuron.v_threshold is {v_threshold}; expected a firing threshold > 0")
    if not surrogate_width > 0:
        raise ValueError(f"neuron.surrogate_width is {surrogate_width}; expected the width of a window, > 0")


def lif(x: Tensor, *, decay: float, v_threshold: float, surrogate_width: float, detach_reset: bool = True) -> Tensor:
    """Spikes of the leaky integrate-and-fire neuron for a whole sequence of currents.

        u[t] = decay * u[t-1] * (1 - s[t-1]) + x[t],    s[t] = 1 if u[t] >= v_threshold else 0

    The gradient of a spike is 1/surrogate_width inside |u - v_threshold| < surrogate_width/2, else 0, and, with
    `detach_reset`, does not pass through the reset. The potential starts at 0; no state is kept.

    Su et al., ICCV 2023, Eq. (1)-(3). Differs from the published code at the tie u == v_threshold: it fires here, as in
    Eq. (2) and in SpikingJelly. Differs from Eq. (3) at the edge of the window, which is excluded, as in the published
    code and SpikingJelly.

    Args:
        x: currents `[T, N, *]`, float. In half precision the potential is kept in float32.
        decay: share of the potential kept per step, in [0, 1).
        v_threshold: firing threshold, > 0, in the units of x.
        surrogate_width: width of the surrogate's window, > 0, in the units of x.
        detach_reset: leave the reset out of the gradient, as published.

    Returns:
        Spikes `[T, N, *]` in {0, 1}, of x's dtype.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(decay, v_threshold, surrogate_width)
    spikes, _ = reference.lif_steps(
        x,
        torch.zeros_like(x[0]),
        decay=decay,
        v_threshold=v_threshold,
        surrogate_width=surrogate_width,
        detach_reset=detach_reset,
    )
    return spikes


class LIF(neuron.LIFNode):
    """`lif` as a SpikingJelly node in multi-step mode.

    Keeps its potential between calls, like every SpikingJelly node: reset between batches
    (`spikingjelly.activation_based.functional.reset_net`; `Detector` does). It is
    `LIFNode(tau=1/(1-decay), decay_input=False, v_reset=0, surrogate_function=Rect(1/surrogate_width))`.

    Args:
        decay, v_threshold, surrogate_width, detach_reset: as for `lif`.
        backend: `torch` (the reference), `numba` (compiled, on a CPU, with a detached reset), `spikingjelly` (its own
            operator: Triton on CUDA), or `auto`: spikingjelly on CUDA, numba on a CPU, torch where neither applies.

    Raises:
        ValueError: an argument outside its range, or an unknown back-end.
    """

    def __init__(
        self,
        decay: float = 0.25,
        v_threshold: float = 0.5,
        surrogate_width: float = 1.0,
        detach_reset: bool = True,
        backend: Backend = "auto",
    ) -> None:
        _check(decay, v_threshold, surrogate_width)
        if backend not in get_args(Backend):
            raise ValueError(f"neuron.backend is {backend!r}; expected one of {', '.join(get_args(Backend))}")
        if backend == "numba" and not detach_reset:
            raise ValueError("neuron.backend is numba, which detaches the reset; expected neuron.detach_reset=true")
        super().__init__(
            tau=2.0,
            decay_input=False,
            v_threshold=v_threshold,
            v_reset=0.0,
            surrogate_function=surrogate.Rect(alpha=1.0 / surrogate_width),
            detach_reset=detach_reset,
            step_mode="m",
        )
        self.v: Tensor | float
        self.tau = 1.0 / (1.0 - decay)  # set here: the parent's constructor refuses decay = 0
        self.decay = decay
        self.surrogate_width = surrogate_width
        self.backend = backend

    def extra_repr(self) -> str:
        """The arguments, as typed in a config."""
        return (
            f"decay={self.decay}, v_threshold={self.v_threshold}, surrogate_width={self.surrogate_width}, "
            f"detach_reset={self.detach_reset}, backend={self.backend}"
        )

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        """Spikes `[T, N, *]` of currents `[T, N, *]`, going on from the potential of the last call."""
        if self.backend == "spikingjelly" or (self.backend == "auto" and x_seq.is_cuda):
            return super().multi_step_forward(x_seq, *args, **kwargs)
        (v,) = self.materialize_states((x_seq,), (self.v,), "m")
        constants = {"decay": self.decay, "v_threshold": self.v_threshold, "surrogate_width": self.surrogate_width}
        if self.backend == "numba" or (self.backend == "auto" and x_seq.device.type == "cpu" and self.detach_reset):
            spikes, self.v = compiled.lif_steps(x_seq, v, **constants)
        else:
            spikes, self.v = reference.lif_steps(x_seq, v, detach_reset=self.detach_reset, **constants)
        return spikes
