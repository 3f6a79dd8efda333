"""The leaky integrate-and-fire neuron of EMS-YOLO, as a function and as a SpikingJelly node."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from emsyolo.neuron.kernels import gpu, norm_operator, operator, reference
from emsyolo.neuron.kernels.layout import check_potential, potential_dtype
from emsyolo.neuron.memory import Memory
from emsyolo.neuron.neuron import Spikes
from emsyolo.neuron.normalisation import Normalisation, needs_gradient
from emsyolo.neuron.packed import Packed
from emsyolo.neuron.plain import PlainLIF

Backend = Literal["auto", "torch", "numba", "cupy", "spikingjelly"]
DEVICE = {"numba": "cpu", "cupy": "cuda"}


def _check(decay: float, v_threshold: float, surrogate_width: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"neuron.decay is {decay}; expected the share of the potential kept per step, in [0, 1]")
    if not v_threshold > 0:
        raise ValueError(f"neuron.v_threshold is {v_threshold}; expected a firing threshold > 0")
    if not surrogate_width > 0:
        raise ValueError(f"neuron.surrogate_width is {surrogate_width}; expected the width of a window, > 0")


def lif(
    x: Tensor,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    detach_reset: bool = True,
    soft_reset: bool = False,
) -> Tensor:
    """Spikes of the leaky integrate-and-fire neuron for a whole sequence of currents.

        u[t] = decay * u[t-1] * (1 - s[t-1]) + x[t],    s[t] = 1 if u[t] >= v_threshold else 0

    or, with `soft_reset`, `u[t] = decay * (u[t-1] - v_threshold * s[t-1]) + x[t]`. The gradient of a spike is
    1/surrogate_width inside |u - v_threshold| < surrogate_width/2, else 0, and, with `detach_reset`, does not pass
    through the reset. The potential starts at 0; no state is kept. This is the plain reference, in nothing but torch.

    Su et al., ICCV 2023, Eq. (1)-(3). Differs from the published code at the tie u == v_threshold: it fires here, as in
    Eq. (2) and in SpikingJelly. Differs from Eq. (3) at the edge of the window, which is excluded, as in the published
    code and SpikingJelly.

    Args:
        x: currents `[T, N, *]`, float. In half precision the potential is kept in float32.
        decay: share of the potential kept per step, in [0, 1]; 1 is integrate and fire.
        v_threshold: firing threshold, > 0, in the units of x.
        surrogate_width: width of the surrogate's window, > 0, in the units of x.
        detach_reset: leave the reset out of the gradient, as published.
        soft_reset: a spike takes the threshold from the potential instead of setting it to 0.

    Returns:
        Spikes `[T, N, *]` in {0, 1}, of x's dtype.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(decay, v_threshold, surrogate_width)
    spikes, _ = reference.lif_steps(
        x,
        None,
        decay=decay,
        v_threshold=v_threshold,
        surrogate_width=surrogate_width,
        detach_reset=detach_reset,
        soft_reset=soft_reset,
    )
    return spikes


class LIF(neuron.LIFNode):
    """`lif` as a SpikingJelly node in multi-step mode.

    Keeps its potential between calls, like every SpikingJelly node: reset between batches
    (`spikingjelly.activation_based.functional.reset_net`; `Detector` does). It is
    `LIFNode(tau=1/(1-decay), decay_input=False, v_reset=0, surrogate_function=Rect(1/surrogate_width))`.

    Args:
        decay: as for `lif`.
        v_threshold: as for `lif`.
        surrogate_width: as for `lif`.
        detach_reset: as for `lif`.
        soft_reset: as for `lif`.
        start: potential before the first step, as a share of the threshold (published: 0). Above 0 neurons fire
            earlier, which matters where there are few steps; Shen et al., NeurIPS 2024, learn it.
        backend: `torch` (the reference), `numba` (compiled, on a CPU), `cupy` (compiled, on a GPU), `spikingjelly` (its
            own operator: Triton on CUDA; it keeps potentials in the currents' dtype, and no bits), or `auto`: numba on
            a CPU; on a GPU cupy where it works, else the same kernels in Triton, else torch, and a warning says why;
            torch on other devices. A reset that is not detached is left to torch, or, on a GPU, to spikingjelly where
            the currents are not in half precision.

    Raises:
        ValueError: an argument outside its range, an unknown back-end, a CuPy that does not work, or, when run, a
            back-end that the device does not have.
    """

    spikes = Spikes()
    remembers = True  # its potential, for the next call

    def __init__(
        self,
        decay: float = 0.25,
        v_threshold: float = 0.5,
        surrogate_width: float = 1.0,
        detach_reset: bool = True,
        soft_reset: bool = False,
        start: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        _check(decay, v_threshold, surrogate_width)
        if backend not in get_args(Backend):
            raise ValueError(f"neuron.backend is {backend!r}; expected one of {', '.join(get_args(Backend))}")
        if backend in DEVICE and not detach_reset:
            raise ValueError(
                f"neuron.backend is {backend}, which detaches the reset; expected neuron.detach_reset=true"
            )
        if backend == "cupy":
            gpu.check_cupy()
        super().__init__(
            tau=2.0,
            decay_input=False,
            v_threshold=v_threshold,
            v_reset=None if soft_reset else 0.0,
            surrogate_function=surrogate.Rect(alpha=1.0 / surrogate_width),
            detach_reset=detach_reset,
            step_mode="m",
        )
        self.set_reset_value("v", start * v_threshold)
        self.v: Tensor | float = start * v_threshold
        # Set here: the parent's constructor refuses decay = 0.
        self.tau = 1.0 / (1.0 - decay) if decay < 1 else math.inf
        self.decay = decay
        self.surrogate_width = surrogate_width
        self.soft_reset = soft_reset
        self.start = start
        self.backend = backend
        self.pack = False
        self.spike_dtype: torch.dtype | None = None  # for inference; None: that of the currents
        self._packed: Packed | None = None

    def extra_repr(self) -> str:
        """The arguments, as typed in a config."""
        return (
            f"decay={self.decay}, v_threshold={self.v_threshold}, surrogate_width={self.surrogate_width}, "
            f"detach_reset={self.detach_reset}, soft_reset={self.soft_reset}, start={self.start}, "
            f"backend={self.backend}"
        )

    def normalises(self, x: Tensor) -> bool:
        """Whether maps `[T, N, C, H, W]` can be given to it before their normalisation, as `norm` of the call."""
        return self.spike_dtype is None and norm_operator.takes(x, self._backend(x))

    def multi_step_forward(
        self,
        x_seq: Tensor,
        *args: Tensor,
        norm: Normalisation | None = None,
        add: Tensor | None = None,
        total: bool = False,
        **kwargs: object,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Spikes `[T, N, *]` of currents `[T, N, *]`, going on from the potential of the last call.

        Args:
            x_seq: currents, or with `norm`, where the node `normalises` it, what they are before they are normalised.
            *args: of SpikingJelly's back-end.
            norm: see above.
            add: with `norm`, what is added to the normalised maps, of x_seq's shape and dtype.
            total: with `norm`, the currents are given as well, behind the spikes.
            **kwargs: of SpikingJelly's back-end.

        Raises:
            ValueError: that potential is of another shape; a back-end that the device does not have.
        """
        check_potential(self.v, x_seq)
        backend = self._backend(x_seq)
        if backend == "spikingjelly":
            return super().multi_step_forward(x_seq, *args, **kwargs)
        constants = (self.decay, self.v_threshold, self.surrogate_width)
        v = self.v if isinstance(self.v, Tensor) else self._first(x_seq)
        if backend == "torch":
            names = ("decay", "v_threshold", "surrogate_width", "detach_reset", "soft_reset")
            spikes, self.v = reference.lif_steps(x_seq, v, **{name: getattr(self, name) for name in names})
            return spikes
        keep, currents = needs_gradient(x_seq, norm, add), x_seq
        if norm is None:
            spikes, bits, last = operator.run_lif(
                x_seq, v, *constants, self.soft_reset, keep, self.spike_dtype, self.remembers
            )
        else:
            spikes, bits, last, currents = norm_operator.run_norm_lif(
                x_seq, *norm.parts(), add, v, *constants, self.soft_reset, keep, self.remembers, total
            )
        self.v = last if self.remembers else self.start * self.v_threshold
        self._packed = Packed(bits, len(x_seq), operator.run_unpack) if keep and self.pack else None
        return (spikes, currents) if total else spikes

    def _first(self, x: Tensor) -> Tensor | None:
        """The potential before the first step; None is 0."""
        dtype = potential_dtype(x.dtype)
        return torch.full_like(x[0], self.start * self.v_threshold, dtype=dtype) if self.start else None

    def keep(self, memory: Memory) -> bool:
        """Hand the spikes to the convolution behind as bits, unless `plain`; its own bits are kept in any case."""
        self.pack = memory != "plain"
        return memory == "packed"

    def plain(self) -> PlainLIF:
        """The same in plain operators, for inference."""
        return PlainLIF(decay=self.decay, v_threshold=self.v_threshold, soft_reset=self.soft_reset, start=self.start)

    def take_bits(self) -> Packed | None:
        """The bits of the last spikes, once, where the node packs them (`pack`) and a gradient is to come."""
        packed, self._packed = self._packed, None
        return packed

    def _backend(self, x: Tensor) -> str:
        """The back-end for a map."""
        if self.backend in DEVICE and x.device.type != DEVICE[self.backend]:
            raise ValueError(
                f"neuron.backend is {self.backend}, which runs on {DEVICE[self.backend]}; the maps are on {x.device}"
            )
        if self.backend != "auto":
            return self.backend
        if x.device.type == "cpu":
            return "numba" if self.detach_reset else "torch"
        return self._on_gpu(x) if x.device.type == "cuda" else "torch"

    def _on_gpu(self, x: Tensor) -> str:
        """The back-end of `auto` on a GPU."""
        if self.detach_reset:
            return "kernels" if gpu.available() else "torch"
        # SpikingJelly keeps potentials in the currents' dtype.
        return "spikingjelly" if potential_dtype(x.dtype) == x.dtype else "torch"
