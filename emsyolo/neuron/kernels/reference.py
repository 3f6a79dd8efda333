"""The plain reference of the leaky integrate-and-fire neuron, in PyTorch alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def lif_steps(
    x: Tensor,
    v: Tensor,
    *,
    decay: float,
    v_threshold: float,
    surrogate_width: float,
    detach_reset: bool = True,
    soft_reset: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spikes of a sequence of currents and the potential after the last step (arguments as `neuron.lif.lif`).

    Args:
        x: currents `[T, N, *]`.
        v: potential `[N, *]` before the first step; no gradient flows into it.
    """
    if detach_reset:
        spikes, v = _LIF.apply(x, v, decay, v_threshold, surrogate_width, soft_reset)
        return spikes, v
    # With the gradient through the reset, the backward pass is left to autograd.
    out = []
    for current in x:
        u = decay * v + current
        s = _Spike.apply(u - v_threshold, surrogate_width)
        v = u - s * v_threshold if soft_reset else u * (1 - s)
        out.append(s)
    return torch.stack(out), v.detach()


class _Spike(torch.autograd.Function):
    """Heaviside step, 1 at 0, with the rectangular surrogate gradient."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(distance.abs() < width / 2)
        ctx.width = width
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside / ctx.width, None


class _LIF(torch.autograd.Function):
    """The whole sequence at once; keeps the spikes and one byte per neuron and step for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, decay: float, v_threshold: float, surrogate_width: float, soft_reset: bool
    ) -> tuple[Tensor, Tensor]:
        # Potentials in half precision would lose currents that are small beside them.
        dtype = torch.promote_types(x.dtype, torch.float32)
        spikes = torch.empty_like(x)
        distance = torch.empty_like(x, dtype=dtype) if ctx.needs_input_grad[0] else None
        v = v.to(dtype)
        for t, current in enumerate(x):
            u = torch.add(current.to(dtype), v, alpha=decay)
            if distance is not None:
                torch.sub(u, v_threshold, out=distance[t])
            torch.ge(u, v_threshold, out=spikes[t])
            fired = spikes[t].to(dtype)
            v = torch.sub(u, fired, alpha=v_threshold) if soft_reset else torch.addcmul(u, u, fired, value=-1)
        if distance is not None:
            # Bytes, not bools: on a CPU, arithmetic with bools is several times slower.
            inside = torch.lt(distance.abs_(), surrogate_width / 2, out=distance).to(torch.uint8)
            ctx.save_for_backward(spikes, inside)
        ctx.decay, ctx.width, ctx.soft_reset = decay, surrogate_width, soft_reset
        v = v.to(x.dtype)
        ctx.mark_non_differentiable(v)
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        spikes, inside = ctx.saved_tensors
        out = grad * inside.to(grad.dtype)
        if ctx.width != 1:
            out.div_(ctx.width)
        for t in range(len(out) - 2, -1, -1):
            # du[t+1]/du[t] = decay, after a reset to 0 only where step t did not fire; the reset itself is detached.
            later = out[t + 1]
            out[t].add_(later if ctx.soft_reset else torch.addcmul(later, later, spikes[t], value=-1), alpha=ctx.decay)
        return out, None, None, None, None, None
