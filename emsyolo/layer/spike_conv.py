"""Convolutions that keep the spikes they were fed with as bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from emsyolo.neuron.packed import Packed


class SpikeConv2d(nn.Conv2d):
    """A convolution that keeps the spikes it was fed with as bits: a 32nd of what the float maps take."""

    takes_packed = True

    def forward(self, x: Tensor, packed: Packed | None = None) -> Tensor:
        """Maps `[T*N, C, H, W]`; see `nn.Conv2d`.

        Args:
            x: spikes or other maps `[T*N, C_in, H, W]`.
            packed: x as bits, if its neuron keeps them; None: x itself is kept.
        """
        if packed is None or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super().forward(x)
        weight, bias = self.weight, self.bias
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        out: Tensor = _PackedConv.apply(x, packed.bits, weight, bias, geometry, packed)
        return out


class _PackedConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bits: Tensor, weight: Tensor, bias: Tensor | None, geometry: Any, packed: Packed
    ) -> Tensor:
        stride, padding, dilation, groups = geometry
        ctx.save_for_backward(bits, weight)
        ctx.packed, ctx.dtype, ctx.geometry = packed, x.dtype, geometry
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        with torch.autocast(x.device.type, enabled=False):
            return nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bits, weight = ctx.saved_tensors
        x = ctx.packed.spikes(bits, ctx.dtype)
        stride, padding, dilation, groups = ctx.geometry
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[2], ctx.needs_input_grad[3]]
        to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
            grad, x, weight, ctx.bias_sizes, stride, padding, dilation, False, [0, 0], groups, wanted
        )
        return to_x, None, to_weight, to_bias, None, None
