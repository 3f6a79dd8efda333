"""Neurons of converted networks that wait for their input before they fire."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from emsyolo.neuron.neuron import Spikes

Code = Literal["even", "radix", "ternary"]
BASES: dict[Code, int] = {"radix": 2, "ternary": 3}  # of the codes whose spikes are digits
MOST_STEPS: dict[Code, int] = {
    "radix": 16,
    "ternary": 10,
}  # 65,535 and 29,524 levels; sums of float32 tell few more apart
ROUNDING = 1e-5  # of a sum of currents, levels


def levels_of(code: Code, steps: int) -> int:
    """How many levels above 0 so many steps tell apart."""
    if code == "even":
        return steps
    base = BASES[code]
    return int((base**steps - 1) // (base - 1))


def step_weights(code: Code, steps: int, device: torch.device | None = None) -> Tensor:
    """What a spike of each step stands for, in levels, `[T]`: 1, or 2^(T-1), ..., 2, 1, or 3^(T-1), ..., 3, 1.

    Raises:
        ValueError: more steps of spikes that are digits than numbers can tell apart.
    """
    if code == "even":
        return torch.ones(steps, device=device)
    base, most = BASES[code], MOST_STEPS[code]
    if steps > most:
        raise ValueError(
            f"convert={code} at T = {steps}; expected at most {most}, where a spike of the first step stands for "
            f"{base ** (most - 1)} levels"
        )
    return float(base) ** torch.arange(steps - 1, -1, -1, device=device)


class AccumulateFire(base.MemoryModule):
    """Accumulate the currents of all T steps, then send the sum as spikes.

        k = clip(floor(f(U) + start), 0, L),    U = sum over t of r[t] x[t] / scale,    L = sum over t of r[t]

    of which f is the activation: `f(u) = u` above 0, and `slope * u` below, where k may be down to -L. With `start` 1/2
    it is the activation, rounded to L levels: exact where the activation has levels itself, and no more than L.

    - `even`: r = 1 and L = T; k spikes, spread evenly. SpikeConverter, Liu et al., AAAI 2022.
    - `radix`: r[t] = 2^(T-1-t) and L = 2^T - 1; the spikes are the binary digits of k, the largest first, all with the
      sign of k. Whoever reads them weighs step t by r[t], as the next such neuron does; a bias, which arrives in every
      step, counts the same. Wang et al., IEEE TNNLS 2024 (arXiv 2105.06943); Zhang et al. (tdIF), arXiv 2508.20392.

    - `ternary`: r[t] = 3^(T-1-t) and L = (3^T - 1) / 2; the spikes are the digits of k in balanced ternary, -1, 0 and
      1, for ReLU, too: with spikes of either sign T steps tell 3^T values apart. Knuth, TAOCP 2, 4.1.

    With `delay` d < T-1 a neuron begins to fire when d+1 steps are in, on the sum so far, and goes on while the others
    come: spike j where what is not yet sent is r[j] or more (`ternary`: more than the later spikes can say). What
    cannot be sent any more is lost.

    It keeps nothing between calls; a call must bring all T steps. A network of them has a latency of T plus, for every
    neuron in a row, d.

    Args:
        scale: what L levels stand for, `[C]`, > 0, in the units of the currents.
        start: in levels.
        code: of the spikes.
        slope: of a leaky ReLU; 0 of ReLU.
        delay: steps to wait before the first spike; None: T, all of them.
        top: share of the levels at which it is clipped: below 1 where the activation has fewer levels.
        bias: current `[C]` that is added in every step; None: 0.

    Raises:
        ValueError: a threshold that is not above 0, an unknown code, a negative delay or slope.
    """

    at_once = True  # all steps must come in one call
    v_threshold = 1.0
    scale: Tensor
    bias: Tensor | None

    def __init__(
        self,
        scale: Tensor,
        start: float = 0.5,
        code: Code = "even",
        *,
        slope: float = 0.0,
        delay: int | None = None,
        top: float = 1.0,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.step_mode = "m"
        if code not in get_args(Code):
            raise ValueError(f"code is {code!r}; expected one of {', '.join(get_args(Code))}")
        if not (scale > 0).all():
            raise ValueError(f"a threshold is {scale.min().item()}; expected numbers > 0")
        if slope < 0:
            raise ValueError(f"slope is {slope}; expected at least 0")
        if delay is not None and delay < 0:
            raise ValueError(f"convert.delay is {delay}; expected steps, at least 0, or null for all of them")
        self.register_buffer("scale", scale.detach().clone().float())
        self.register_buffer("bias", None if bias is None else bias.detach().clone().float())
        self.start = start
        self.code: Code = code
        self.slope = slope
        self.delay = delay
        self.top = top
        self.spikes = Spikes(signed=slope > 0 or code == "ternary")

    def step_weights(self, steps: int) -> Tensor:
        """What a spike of each step stands for, in levels, `[T]`."""
        return step_weights(self.code, steps, self.scale.device)

    def wait(self, steps: int) -> int:
        """How many steps it waits before it fires, of T."""
        return steps if self.delay is None else min(self.delay, steps)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, N, C, H, W]` in {-1, 0, 1} of currents `[T, N, C, H, W]`."""
        weights = self.step_weights(len(x)).view(-1, *[1] * (x.ndim - 1))
        currents = x.float() if self.bias is None else x.float() + self.bias.view(-1, 1, 1)
        charges = currents / self.scale.view(-1, 1, 1) * weights
        if self.delay is not None and self.delay < len(x) - 1:
            spikes = self._as_it_comes(charges, weights)
        else:
            number = self._levels(charges.sum(dim=0), len(x))
            spikes = self._spread(number, len(x)) if self.code == "even" else self._digits(number, weights)
        return spikes.to(x.dtype)

    def plain(self) -> AccumulateFire:
        """A copy: it is in torch's operators."""
        return copy.deepcopy(self)

    def _levels(self, charge: Tensor, steps: int) -> Tensor:
        """The number of levels that is to be sent for a sum of currents."""
        most = round(self.top * levels_of(self.code, steps))
        total = torch.where(charge > 0, charge, self.slope * charge) if self.slope else charge
        return (total + self.start + ROUNDING).floor().clamp(-most if self.slope else 0, most)

    @staticmethod
    def _spread(number: Tensor, steps: int) -> Tensor:
        """So many spikes, as evenly as they fit."""
        at = torch.arange(steps + 1, device=number.device, dtype=number.dtype).view(-1, *[1] * number.ndim)
        fired = (at * number.abs() / steps + 1e-4).floor()
        return (fired[1:] - fired[:-1]) * number.sign()

    def _digits(self, number: Tensor, weights: Tensor) -> Tensor:
        if self.code == "ternary":  # those of a number in base 3, each less 1, are those of the number less L
            return ((number + weights.sum()) / weights).floor().remainder(3) - 1
        return (number.abs() / weights).floor().remainder(2) * number.sign()

    def _as_it_comes(self, charges: Tensor, weights: Tensor) -> Tensor:
        """Spikes while the last currents are still to come, each on the sum so far."""
        assert self.delay is not None
        sums = charges.cumsum(dim=0)
        sent: Tensor | float = 0.0
        spikes = []
        for step, weight in enumerate(weights.unbind(0)):
            rest = self._levels(sums[min(step + self.delay, len(sums) - 1)], len(sums)) - sent
            least = (weight + 1) / 2 if self.code == "ternary" else weight
            fired = (rest >= least).to(sums.dtype)
            if self.spikes.signed:
                fired = fired - (rest <= -least).to(sums.dtype)
            spikes.append(fired)
            sent = sent + fired * weight
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """The settings."""
        delay = "" if self.delay is None else f", delay={self.delay}"
        return f"channels={len(self.scale)}, start={self.start}, code={self.code}{delay}"
