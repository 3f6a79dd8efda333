"""The plain reference of the neurons, in nothing but PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from emsyolo.neuron.kernels.layout import potential_dtype


def lif_steps(
    x: Tensor,
    v: Tensor | None,
    *,
    decay: float | Tensor,
    v_threshold: float,
    surrogate_width: float,
    detach_reset: bool = True,
    soft_reset: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spikes of a sequence of currents and the potential after the last step (see `neuron.lif.lif` for the arguments).

    Args:
        x: currents `[T, N, *]`.
        v: potential `[N, *]` before the first step, at least float32; None is 0. No gradient flows into it.
        decay: a number, or a tensor that is trained, of a shape that goes with `[N, *]`.
    """
    dtype = potential_dtype(x.dtype)
    v = torch.zeros_like(x[0], dtype=dtype) if v is None else v.to(dtype)
    if detach_reset and not isinstance(decay, Tensor):
        spikes, v = _LIF.apply(x, v, decay, v_threshold, surrogate_width, soft_reset)
        return spikes, v
    # With the gradient through the reset, or towards the decay, the backward pass is left to autograd.
    out = []
    for current in x:
        u = decay * v + current
        s = _Spike.apply(u - v_threshold, surrogate_width)
        taken = s.detach() if detach_reset else s
        v = u - taken * v_threshold if soft_reset else u * (1 - taken)
        out.append(s.to(x.dtype))
    return torch.stack(out), v.detach()


def if_steps(
    x: Tensor, v: Tensor, net: Tensor, *, negative: float, repay: float, needs_spike: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of the integrate-and-fire neuron of converted networks, potential and net number after the last step.

    A spike where the potential reaches 1, which takes 1 away. A negative spike where it falls to `negative` or below,
    which gives `repay` back; with `needs_spike` only as long as the neuron has fired more often than it took back.

    Args:
        x: currents `[T, *]` in units of the threshold, float32.
        v: potentials `[*]`, float32.
        net: spikes minus negative spikes so far `[*]`, float32.
        negative: at or below which a negative spike is sent, below 1; `-inf` for never.
        repay: what a negative spike adds to the potential.
        needs_spike: see above.
    """
    spikes = []
    for current in x.unbind(0):
        u = v + current
        sent = (u >= 1).to(x.dtype)
        v = u - sent
        if negative > -math.inf:
            low = u <= negative
            back = (low & (net > 0) if needs_spike else low).to(x.dtype)
            sent, v = sent - back, v + repay * back
        net = net + sent
        spikes.append(sent)
    return torch.stack(spikes), v, net


def ilif_steps(
    x: Tensor, v: Tensor | None, *, decay: float | Tensor, input_scale: float, levels: int
) -> tuple[Tensor, Tensor]:
    """Spikes of the integer-valued neuron and the potential after the last step (see `neuron.ilif.ilif`).

    Args:
        x: currents `[T, N, *]`.
        v: potential `[N, *]` before the first step, at least float32; None is 0. No gradient flows into it.
        decay: a number, or a tensor that is trained, of a shape that goes with `[N, *]`.
    """
    dtype = potential_dtype(x.dtype)
    v = torch.zeros_like(x[0], dtype=dtype) if v is None else v.to(dtype)
    if not isinstance(decay, Tensor):
        spikes, v = _ILIF.apply(x, v, decay, input_scale, levels)
        return spikes, v
    out = []
    for current in x:
        u = decay * v + current.to(dtype) * input_scale
        s = _Whole.apply(u, levels)
        v = u - s.detach()
        out.append(s.to(x.dtype))
    return torch.stack(out), v.detach()


def normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Currents that a normalisation makes of maps: `x * scale + shift` per channel, of x's dtype.

    It is rounded after the product and after the sum, both at least float32, and then to x's dtype.

    Args:
        x: `[T, N, C, *]`.
        scale, shift: `[C]`, see `norm_operator.scale_and_shift`.
    """
    sizes = (-1, *(1,) * (x.ndim - 3))
    return (x.to(potential_dtype(x.dtype)) * scale.view(sizes) + shift.view(sizes)).to(x.dtype)


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


class _Whole(torch.autograd.Function):
    """The nearest whole number from 0 to D, half to even; the gradient is 1 inside, ends included."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, levels: int) -> Tensor:
        clipped = u.clamp(0, levels)
        ctx.save_for_backward(clipped == u)
        return clipped.round()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None


class _LIF(torch.autograd.Function):
    """The whole sequence at once; keeps the spikes and one byte per neuron and step for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, decay: float, v_threshold: float, surrogate_width: float, soft_reset: bool
    ) -> tuple[Tensor, Tensor]:
        dtype = v.dtype
        spikes = torch.empty_like(x)
        distance = torch.empty_like(x, dtype=dtype) if ctx.needs_input_grad[0] else None
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


class _ILIF(torch.autograd.Function):
    """The whole sequence at once; keeps a byte per neuron and step for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, decay: float, input_scale: float, levels: int) -> tuple[Tensor, Tensor]:
        spikes = torch.empty_like(x)
        inside = torch.empty_like(x, dtype=torch.uint8) if ctx.needs_input_grad[0] else None
        for t, current in enumerate(x):
            u = torch.add(current.to(v.dtype) * input_scale, v, alpha=decay)
            clipped = u.clamp(0, levels)
            if inside is not None:
                torch.eq(clipped, u, out=inside[t])
            sent = clipped.round_()  # half to even
            spikes[t] = sent
            v = u - sent
        if inside is not None:
            ctx.save_for_backward(inside)
        ctx.decay, ctx.input_scale = decay, input_scale
        ctx.mark_non_differentiable(v)
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        out = grad * inside.to(grad.dtype)
        for t in range(len(out) - 2, -1, -1):
            out[t].add_(out[t + 1], alpha=ctx.decay)  # the reset is detached
        return out * ctx.input_scale, None, None, None, None
