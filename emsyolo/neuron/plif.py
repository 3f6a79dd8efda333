"""The leaky integrate-and-fire neuron whose decays are trained."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from emsyolo.neuron.kernels import reference, trained_operator
from emsyolo.neuron.kernels.layout import check_potential
from emsyolo.neuron.leak import Leak, beside
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.packed import Packed
from emsyolo.neuron.plain import PlainLIF

TrainedBackend = Literal["auto", "torch", "numba"]


class PLIF(LIF):
    """`LIF` with a decay per channel that is trained (`Leak`); all else, the surrogate gradient too, is the same.

        u[t] = decay[c] * u[t-1] * (1 - s[t-1]) + x[t],    s[t] = 1 if u[t] >= v_threshold else 0

    Towards the decay the gradient is the sum over T, N, H and W of that of u[t] times the potential that was left of
    u[t-1]; no gradient flows into the potential of an earlier call. In one step from a potential of 0 there is none.

    Fang et al., ICCV 2021. Differs: the current is not multiplied by 1 - decay, as in `LIF`; see `Leak` as well.

    Args:
        decay: of all channels at the start of training, in (0, 1).
        v_threshold: as for `LIF`.
        surrogate_width: as for `LIF`.
        detach_reset: as for `LIF`.
        soft_reset: as for `LIF`.
        start: as for `LIF`.
        backend: `torch` (the reference), `numba` (compiled, on a CPU; the reset is detached), or `auto`: numba on a
            CPU where the reset is detached, else torch.

    Raises:
        ValueError: an argument outside its range, an unknown back-end, or, when run, one that the device does not have.
    """

    def __init__(
        self,
        decay: float = 0.25,
        v_threshold: float = 0.5,
        surrogate_width: float = 1.0,
        detach_reset: bool = True,
        soft_reset: bool = False,
        start: float = 0.0,
        backend: TrainedBackend = "auto",
    ) -> None:
        check_backend(backend)
        super().__init__(decay, v_threshold, surrogate_width, detach_reset, soft_reset, start, backend)
        self.leak = Leak(decay)

    def normalises(self, x: Tensor) -> bool:
        """False: no kernel does both."""
        return False

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        """Spikes `[T, N, C, *]` of currents `[T, N, C, *]`, going on from the potential of the last call.

        Raises:
            ValueError: that potential is of another shape; a back-end that the device does not have.
        """
        check_potential(self.v, x_seq)
        decays = self.leak(x_seq)
        v = self.v if isinstance(self.v, Tensor) else self._first(x_seq)
        constants = (self.v_threshold, self.surrogate_width)
        if self._backend(x_seq) != "numba":
            spikes, self.v = reference.lif_steps(
                x_seq,
                v,
                decay=beside(decays, x_seq),
                v_threshold=self.v_threshold,
                surrogate_width=self.surrogate_width,
                detach_reset=self.detach_reset,
                soft_reset=self.soft_reset,
            )
            return spikes
        keep = torch.is_grad_enabled() and (x_seq.requires_grad or decays.requires_grad)
        spikes, bits, self.v, _ = trained_operator.run_plif(
            x_seq, v, decays, *constants, self.soft_reset, keep, self.spike_dtype
        )
        self._packed = Packed(bits, len(x_seq), trained_operator.unpack_binary) if keep and self.pack else None
        return spikes

    def _on_gpu(self, x: Tensor) -> str:
        return "torch"  # no kernel for a GPU trains decays

    def plain(self) -> PlainLIF:
        """The same in plain operators, for inference, with the decays as they are now."""
        return PlainLIF(
            decay=self.leak.now(), v_threshold=self.v_threshold, soft_reset=self.soft_reset, start=self.start
        )


def check_backend(backend: str) -> None:
    """Refuse a back-end that does not train decays."""
    if backend not in get_args(TrainedBackend):
        raise ValueError(
            f"neuron.backend is {backend!r}; expected one of {', '.join(get_args(TrainedBackend))}, which train decays"
        )
