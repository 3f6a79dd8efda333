"""Decays that are trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter, is_lazy


class Leak(nn.Module):
    """The decays of a neuron, one per channel: the sigmoid of a number that is trained.

    The number of channels is that of the first currents it sees; a `Detector` shows it some when it is built.

    Fang et al., ICCV 2021. Differs: one for each channel, there one for each layer; and it is what is kept of the
    potential, 1 - 1/tau there.

    Args:
        decay: of all channels at the start, in (0, 1).

    Raises:
        ValueError: a decay outside its range.
    """

    logit: nn.Parameter | UninitializedParameter

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(
                f"neuron.decay is {decay}; expected the share of the potential kept per step at the start of training, "
                "between 0 and 1, ends excluded, since it is trained"
            )
        self.start = decay
        self.logit = UninitializedParameter()

    def forward(self, x: Tensor) -> Tensor:
        """The decays `[C]` for currents `[T, N, C, *]`, in float32 or better.

        Raises:
            ValueError: currents of another number of channels than the first ones.
        """
        if is_lazy(self.logit):
            self._begin(x)
        if x.ndim < 3 or x.shape[2] != len(self.logit):
            raise ValueError(
                f"currents are {list(x.shape)}; expected [T, N, C, *] with C = {len(self.logit)}, one for each decay"
            )
        return self.logit.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()

    def now(self) -> Tensor:
        """The decays `[C, 1, 1]` as they are, for maps `[N, C, H, W]`; no gradient flows into them."""
        return self.logit.detach().sigmoid().view(-1, 1, 1)

    @torch.no_grad()
    def _begin(self, x: Tensor) -> None:
        if x.ndim < 3:
            raise ValueError(f"currents are {list(x.shape)}; expected [T, N, C, *]")
        assert isinstance(self.logit, UninitializedParameter)
        self.logit.materialize(x.shape[2:3], device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
        self.logit.fill_(math.log(self.start / (1 - self.start)))


def beside(decays: Tensor, x: Tensor) -> Tensor:
    """Decays `[C]` in a shape that goes with a step `[N, C, *]` of currents `[T, N, C, *]`."""
    return decays.view(-1, *(1,) * (x.ndim - 3))
