"""The integrate-and-fire neurons of converted networks."""

from __future__ import annotations

import copy
import math
from typing import Literal, get_args

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor

from emsyolo.neuron.kernels import cuda, operator, reference
from emsyolo.neuron.kernels.layout import check_potential
from emsyolo.neuron.neuron import Spikes

Rule = Literal["plain", "signed", "imbalanced", "delayed"]
BELOW_ZERO = -1e-6  # rounding of a sum of many float32 steps is not a potential below 0


class IF(neuron.IFNode):
    """Integrate and fire with soft reset and a threshold per channel, as a SpikingJelly node in multi-step mode.

        u[t] = u[t-1] + x[t] / scale - s[t],    s[t] = 1 where u[t-1] + x[t] / scale >= 1

    Ming and Li, 2024, Eq. (1)-(3). Keeps potentials between calls, like every SpikingJelly node. Differs from the
    parent: the threshold is one number per channel, the potential starts at a share of it, and there are other rules of
    firing:

    - `plain`: as above.
    - `signed`: a negative spike takes one back where the potential is below 0 and the neuron has fired more often than
      it took back. Fast-SNN, Hu et al., IEEE TPAMI 2023. No latency.
    - `imbalanced`: a negative spike where the potential is at or below `-1 / slope`; it gives `1 / slope` back. For
      leaky ReLU of that slope. Spiking-YOLO, Kim et al., AAAI 2020. No latency.
    - `delayed`: the neuron fires only when all T steps are in, and then evenly. Accumulate then fire: SpikeConverter,
      Liu et al., AAAI 2022. Exact where the activation has T levels; the latency is depth times T, and a call must
      bring all T steps.

    Args:
        scale: threshold `[C]`, > 0, in the units of the currents.
        start: potential at the start, as a share of the threshold.
        rule: of firing.
        slope: of the leaky ReLU, for `imbalanced`.

    Raises:
        ValueError: a threshold that is not above 0, an unknown rule.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, start: float = 0.0, rule: Rule = "plain", slope: float = 0.1) -> None:
        super().__init__(v_threshold=1.0, v_reset=None, step_mode="m")
        if rule not in get_args(Rule):
            raise ValueError(f"convert.rule is {rule!r}; expected one of {', '.join(get_args(Rule))}")
        if not (scale > 0).all():
            raise ValueError(f"a threshold is {scale.min().item()}; expected numbers > 0")
        self.set_reset_value("v", start)
        self.v: Tensor | float = start
        self.register_buffer("scale", scale.detach().clone().float())
        self.start = start
        self.rule = rule
        self.slope = slope
        self.spikes = Spikes(signed=rule in ("signed", "imbalanced"))
        self.at_once = rule == "delayed"  # all steps must come in one call
        self.compiled = True
        self.register_memory("net", 0.0)

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        """Spikes `[T, N, C, H, W]` in {-1, 0, 1} of currents `[T, N, C, H, W]`."""
        check_potential(self.v, x_seq)
        x = x_seq.float() / self.scale.view(-1, 1, 1)
        if not isinstance(self.v, Tensor):
            self.v = torch.full_like(x[0], self.start, memory_format=torch.contiguous_format)
            self.net = torch.zeros_like(self.v)
        if self.rule == "delayed":
            return self._delayed(x).to(x_seq.dtype)
        negative, repay, needs_spike = self._negative()
        compiled = x.device.type == "cpu" or (x.device.type == "cuda" and cuda.available())
        steps = operator.if_steps if compiled and self.compiled else reference.if_steps
        spikes, self.v, self.net = steps(x, self.v, self.net, negative=negative, repay=repay, needs_spike=needs_spike)
        return spikes.to(x_seq.dtype)

    def plain(self) -> IF:
        """The same in torch's operators."""
        copied = copy.deepcopy(self)
        copied.compiled = False
        return copied

    def _negative(self) -> tuple[float, float, bool]:
        """At which potential a negative spike is sent, what it gives back, whether it needs one to take back."""
        if self.rule == "signed":
            return BELOW_ZERO, 1.0, True
        if self.rule == "imbalanced":
            return -1 / self.slope, 1 / self.slope, False
        return -math.inf, 0.0, False

    def _delayed(self, x: Tensor) -> Tensor:
        """All steps are in: the number of spikes is known, and they are spread evenly."""
        steps = len(x)
        number = (x.sum(dim=0) + self.v + 1e-5).floor().clamp(0, steps)  # 1e-5: rounding of the sum at a whole number
        at = torch.arange(steps + 1, device=x.device, dtype=x.dtype).view(-1, *[1] * number.ndim)
        fired = (at * number / steps + 1e-4).floor()
        return fired[1:] - fired[:-1]

    def extra_repr(self) -> str:
        """The settings."""
        return f"channels={len(self.scale)}, start={self.start}, rule={self.rule}"
