"""The integer-valued leaky integrate-and-fire neuron of SpikeYOLO, as a function and as a SpikingJelly node."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, get_args

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from emsyolo.neuron.kernels import gpu, norm_operator, operator, reference
from emsyolo.neuron.kernels.layout import check_potential
from emsyolo.neuron.memory import Memory
from emsyolo.neuron.neuron import Spikes
from emsyolo.neuron.normalisation import Normalisation, needs_gradient
from emsyolo.neuron.packed import Packed
from emsyolo.neuron.plain import PlainILIF

Backend = Literal["auto", "torch", "numba", "cupy"]
DEVICE = {"numba": "cpu", "cupy": "cuda"}
MAX_LEVELS = 127  # whole numbers that every type and a byte hold


def _check(levels: int, decay: float, input_scale: float) -> None:
    if not isinstance(levels, int) or isinstance(levels, bool) or not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"neuron.levels is {levels!r}; expected D, a whole number from 1 to {MAX_LEVELS}")
    if not 0 <= decay <= 1:
        raise ValueError(f"neuron.decay is {decay}; expected the share of the potential kept per step, in [0, 1]")
    if not input_scale > 0:
        raise ValueError(f"neuron.input_scale is {input_scale}; expected a factor of the currents, > 0")


def ilif(x: Tensor, *, levels: int, decay: float = 0.25, input_scale: float = 1.0) -> Tensor:
    """Integer spikes of the integer-valued leaky integrate-and-fire neuron for a whole sequence of currents.

        u[t] = decay * (u[t-1] - s[t-1]) + input_scale * x[t],    s[t] = round(clip(u[t], 0, levels))

    Rounding is to the nearest, half to even. The reset takes away what was sent; what exceeds `levels` stays. The
    gradient of a spike is 1 where 0 <= u <= levels, else 0, and does not pass through the reset. The potential starts
    at 0; no state is kept. This is the plain reference, in nothing but torch.

    Luo et al., ECCV 2024, section 3.2, and its published code. The COCO networks have decay 1/4 and input scale 1,
    those of Gen1 1/2 and 1/2.

    Args:
        x: currents `[T, N, *]`, float. In half precision the potential is kept in float32.
        levels: D, the largest spike, 1 to 127.
        decay: share of the potential kept per step, in [0, 1].
        input_scale: factor of the currents, > 0.

    Returns:
        Spikes `[T, N, *]` in {0, 1, ..., levels}, of x's dtype.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(levels, decay, input_scale)
    return reference.ilif_steps(x, None, decay=decay, input_scale=input_scale, levels=levels)[0]


class ILIF(neuron.ILIFNode):
    """`ilif` as a SpikingJelly node in multi-step mode.

    Keeps its potential between calls, like every SpikingJelly node, in units of the threshold. With `input_scale=1` it
    is `ILIFNode(tau=1/(1-decay), v_threshold, detach_reset=True, surrogate_function=MultiLevelSpikeCount(levels))` of
    SpikingJelly, in spikes and gradients, ties included.

    Args:
        levels: as for `ilif`.
        decay: as for `ilif`.
        input_scale: as for `ilif`.
        v_threshold: what counts as one spike, > 0, in the units of the currents: they are divided by it. Published: 1.
        backend: `torch` (the reference), `numba` (compiled, on a CPU), `cupy` (compiled, on a GPU), or `auto`: numba on
            a CPU; on a GPU cupy where it works, else the same kernels in Triton, else torch, and a warning says why.

    Raises:
        ValueError: an argument outside its range, an unknown back-end, a CuPy that does not work, or, when run, a
            back-end that the device does not have.
    """

    remembers = True  # its potential, for the next call

    def __init__(
        self,
        levels: int = 4,
        decay: float = 0.25,
        input_scale: float = 1.0,
        v_threshold: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        _check(levels, decay, input_scale)
        if not v_threshold > 0:
            raise ValueError(f"neuron.v_threshold is {v_threshold}; expected the current that is one spike, > 0")
        if backend not in get_args(Backend):
            raise ValueError(f"neuron.backend is {backend!r}; expected one of {', '.join(get_args(Backend))}")
        if backend == "cupy":
            gpu.check_cupy()
        super().__init__(
            tau=2.0,
            v_threshold=v_threshold,
            surrogate_function=surrogate.MultiLevelSpikeCount(levels),
            detach_reset=True,
            step_mode="m",
        )
        self.v: Tensor | float
        # Set here: the parent's constructor refuses decay = 0.
        self.tau = 1.0 / (1.0 - decay) if decay < 1 else math.inf
        self.levels, self.decay, self.input_scale = levels, decay, input_scale
        self.spikes = Spikes(levels)
        self.backend = backend
        self.pack = False
        self.spike_dtype: torch.dtype | None = None  # for inference; None: that of the currents
        self._packed: Packed | None = None

    def extra_repr(self) -> str:
        """The arguments, as typed in a config."""
        return (
            f"levels={self.levels}, decay={self.decay}, input_scale={self.input_scale}, "
            f"v_threshold={self.v_threshold}, backend={self.backend}"
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
            *args: nothing; SpikingJelly's nodes have them.
            norm: see above.
            add: with `norm`, what is added to the normalised maps, of x_seq's shape and dtype.
            total: with `norm`, the currents are given as well, behind the spikes.
            **kwargs: nothing, either.

        Raises:
            ValueError: that potential is of another shape; a back-end that the device does not have.
        """
        check_potential(self.v, x_seq)
        v = self.v if isinstance(self.v, Tensor) else None
        scale = self.input_scale / self.v_threshold  # potentials are in units of the threshold
        if self._backend(x_seq) == "torch":
            spikes, self.v = reference.ilif_steps(x_seq, v, decay=self.decay, input_scale=scale, levels=self.levels)
            return spikes
        keep, currents, constants = needs_gradient(x_seq, norm, add), x_seq, (self.decay, scale, self.levels)
        if norm is None:
            spikes, bits, last = operator.run_ilif(x_seq, v, *constants, keep, self.spike_dtype, self.remembers)
        else:
            spikes, bits, last, currents = norm_operator.run_norm_ilif(
                x_seq, *norm.parts(), add, v, *constants, keep, self.remembers, total
            )
        self.v = last if self.remembers else 0.0
        if keep and self.pack:
            self._packed = Packed(bits, len(x_seq), partial(_unpacked, levels=self.levels))
        return (spikes, currents) if total else spikes

    def keep(self, memory: Memory) -> bool:
        """Hand the spikes to the convolution behind as bits, unless `plain`; its own bits are kept in any case."""
        self.pack = memory != "plain"
        return memory == "packed"

    def plain(self) -> PlainILIF:
        """The same in plain operators, for inference."""
        return PlainILIF(
            decay=self.decay, input_scale=self.input_scale, v_threshold=self.v_threshold, levels=self.levels
        )

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
            return "numba"
        return self._on_gpu() if x.device.type == "cuda" else "torch"

    def _on_gpu(self) -> str:
        """The back-end of `auto` on a GPU."""
        return "kernels" if gpu.available() else "torch"


def _unpacked(bits: Tensor, steps: int, dtype: torch.dtype, *, levels: int) -> Tensor:
    return operator.run_unpack_integers(bits, steps, levels, dtype)
