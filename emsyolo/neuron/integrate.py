"""The integrate-and-fire neurons of converted networks that fire as their input comes."""

from __future__ import annotations

import copy
import math
from typing import Literal, get_args

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor

from emsyolo.neuron.kernels import gpu, operator, reference
from emsyolo.neuron.kernels.layout import check_potential
from emsyolo.neuron.neuron import Spikes

Rule = Literal["plain", "signed", "imbalanced"]
BELOW_ZERO = -1e-6  # rounding of a sum of many float32 steps is not a potential below 0


class IF(neuron.IFNode):
    """Integrate and fire with soft reset and a threshold per channel, as a SpikingJelly node in multi-step mode.

        u[t] = u[t-1] + x[t] / scale - s[t],    s[t] = 1 where u[t-1] + x[t] / scale >= 1

    Ming and Li, 2024, Eq. (1)-(3). Keeps potentials between calls, like every SpikingJelly node. Differs from the
    parent: the threshold is one number per channel, the potential starts at a share of it, and there are other rules of
    firing:

    - `plain`: as above.
    - `signed`: a negative spike takes one back where the potential is below 0 and the neuron has fired more often than
      it took back. Fast-SNN, Hu et al., IEEE TPAMI 2023. With a `slope`, of leaky ReLU, spikes of either sign stand for
      the same, and their net number follows the sum of the currents, or, where that is below 0, `slope` times it.
    - `imbalanced`: a negative spike where the potential is at or below `-1 / slope`; it gives `1 / slope` back. For
      leaky ReLU of that slope. Spiking-YOLO, Kim et al., AAAI 2020.

    None of them waits: the network answers after T steps.

    Args:
        scale: threshold `[C]`, > 0, in the units of the currents.
        start: potential at the start, as a share of the threshold.
        rule: of firing.
        slope: of the leaky ReLU; 0 of ReLU.
        bias: current `[C]` that is added in every step; None: 0.

    Raises:
        ValueError: a threshold that is not above 0, an unknown rule, `imbalanced` without a slope.
    """

    scale: Tensor
    bias: Tensor | None

    def __init__(
        self,
        scale: Tensor,
        start: float = 0.0,
        rule: Rule = "plain",
        slope: float = 0.0,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__(v_threshold=1.0, v_reset=None, step_mode="m")
        if rule not in get_args(Rule):
            raise ValueError(f"convert.rule is {rule!r}; expected one of {', '.join(get_args(Rule))}")
        if not (scale > 0).all():
            raise ValueError(f"a threshold is {scale.min().item()}; expected numbers > 0")
        if rule == "imbalanced" and not slope > 0:
            raise ValueError(f"slope is {slope}; expected that of a leaky ReLU, > 0")
        self.set_reset_value("v", start)
        self.v: Tensor | float = start
        self.register_buffer("scale", scale.detach().clone().float())
        self.register_buffer("bias", None if bias is None else bias.detach().clone().float())
        self.start = start
        self.rule = rule
        self.slope = slope
        self.spikes = Spikes(signed=rule != "plain")
        self.compiled = True
        self.register_memory("net", 0.0)

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        """Spikes `[T, N, C, H, W]` in {-1, 0, 1} of currents `[T, N, C, H, W]`."""
        check_potential(self.v, x_seq)
        currents = x_seq.float() if self.bias is None else x_seq.float() + self.bias.view(-1, 1, 1)
        x = currents / self.scale.view(-1, 1, 1)
        if not isinstance(self.v, Tensor):
            self.v = torch.full_like(x[0], self.start, memory_format=torch.contiguous_format)
            self.net = torch.zeros_like(self.v)
        if self.rule == "signed" and self.slope:
            assert isinstance(self.net, Tensor)
            spikes, self.v, self.net = self._follow(x, self.v, self.net)
            return spikes.to(x_seq.dtype)
        negative, repay, needs_spike = self._negative()
        compiled = x.device.type == "cpu" or (x.device.type == "cuda" and gpu.available())
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

    def _follow(self, x: Tensor, v: Tensor, net: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spikes of either sign whose net number follows the leaky ReLU of what has come."""
        spikes = []
        for current in x:
            total = v + net + current - self.start
            rest = torch.where(total > 0, total, self.slope * total) + self.start - net
            spikes.append((rest >= 1).to(x.dtype) - (rest <= BELOW_ZERO).to(x.dtype))
            v, net = v + current - spikes[-1], net + spikes[-1]
        return torch.stack(spikes), v, net

    def extra_repr(self) -> str:
        """The settings."""
        return f"channels={len(self.scale)}, start={self.start}, rule={self.rule}"
