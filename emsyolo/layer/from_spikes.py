"""Linear layers that keep nothing but the spikes they were fed with, as bits, and are computed anew from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.packed import Packed


class FromSpikes(nn.Sequential):
    """Cheap linear layers behind a neuron: convolutions of 1x1 or depthwise, and normalisations, over `[T*N, C, H, W]`.

    Where the neuron hands its spikes over as bits, the maps between the layers are not kept for the backward pass but
    computed once more there, which costs little; gradients and running statistics are the same.
    """

    takes_packed = True

    def forward(self, x: Tensor, packed: Packed | None = None) -> Tensor:
        """Maps `[T*N, C, H, W]`; `packed` is x as bits, None: what torch keeps is kept."""
        if packed is None:
            return super().forward(x)
        out: Tensor = _Again.apply(x, packed.bits, packed, self, *self.parameters())
        return out


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bits: Tensor, packed: Packed, layers: nn.Sequential, *parameters: Tensor
    ) -> Tensor:
        ctx.save_for_backward(bits)
        ctx.packed, ctx.layers, ctx.dtype, ctx.parameters = packed, layers, x.dtype, parameters
        ctx.format = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else None
        device = x.device.type
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        return nn.Sequential.forward(layers, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        x = ctx.packed.spikes(bits, ctx.dtype).requires_grad_(requires_grad=ctx.needs_input_grad[0])
        norms = [module for module in ctx.layers.modules() if isinstance(module, TdBN) and module.counting]
        for norm in norms:
            norm.counting = False
        try:
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                out = nn.Sequential.forward(ctx.layers, x)
        finally:
            for norm in norms:
                norm.counting = True
        sources = [x, *ctx.parameters]
        wanted = [ctx.needs_input_grad[0], *ctx.needs_input_grad[4:]]
        found = iter(torch.autograd.grad(out, [s for s, w in zip(sources, wanted, strict=True) if w], grad))
        to_x, *to_parameters = [next(found) if w else None for w in wanted]
        return to_x, None, None, None, *to_parameters
