"""The integer-valued leaky integrate-and-fire neuron whose decays are trained."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.kernels import operator, reference, trained_operator
from emsyolo.neuron.kernels.layout import check_potential
from emsyolo.neuron.leak import Leak, beside
from emsyolo.neuron.packed import Packed
from emsyolo.neuron.plain import PlainILIF
from emsyolo.neuron.plif import TrainedBackend, check_backend


class PILIF(ILIF):
    """`ILIF` with a decay per channel that is trained, as `PLIF` is to `LIF`; all else is the same.

        u[t] = decay[c] * (u[t-1] - s[t-1]) + input_scale * x[t],    s[t] = round(clip(u[t], 0, levels))

    Luo et al., ECCV 2024, with the trained decay of Fang et al., ICCV 2021 (see `Leak` for the difference).

    Args:
        levels: as for `ILIF`.
        input_scale: as for `ILIF`.
        v_threshold: as for `ILIF`.
        decay: of all channels at the start of training, in (0, 1).
        backend: `torch` (the reference), `numba` (compiled, on a CPU), or `auto`: numba on a CPU, else torch.

    Raises:
        ValueError: an argument outside its range, an unknown back-end, or, when run, one that the device does not have.
    """

    def __init__(
        self,
        levels: int = 16,
        decay: float = 0.25,
        input_scale: float = 1.0,
        v_threshold: float = 1.0,
        backend: TrainedBackend = "auto",
    ) -> None:
        check_backend(backend)
        super().__init__(levels, decay, input_scale, v_threshold, backend)
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
        v = self.v if isinstance(self.v, Tensor) else None
        scale = self.input_scale / self.v_threshold  # potentials are in units of the threshold
        if self._backend(x_seq) != "numba":
            decay = beside(decays, x_seq)
            spikes, self.v = reference.ilif_steps(x_seq, v, decay=decay, input_scale=scale, levels=self.levels)
            return spikes
        keep = torch.is_grad_enabled() and (x_seq.requires_grad or decays.requires_grad)
        constants = (scale, self.levels, keep, self.spike_dtype)
        spikes, bits, self.v, _ = trained_operator.run_pilif(x_seq, v, decays, *constants)
        self._packed = None
        if keep and self.pack:
            self._packed = Packed(bits, len(x_seq), partial(_unpacked, levels=self.levels))
        return spikes

    def _on_gpu(self) -> str:
        return "torch"  # no kernel for a GPU trains decays

    def plain(self) -> PlainILIF:
        """The same in plain operators, for inference, with the decays as they are now."""
        return PlainILIF(
            decay=self.leak.now(), input_scale=self.input_scale, v_threshold=self.v_threshold, levels=self.levels
        )


def _unpacked(bits: Tensor, steps: int, dtype: torch.dtype, *, levels: int) -> Tensor:
    return operator.run_unpack_integers(bits, steps, levels, dtype)
