"""Time and batch: stateless layers see `[T*N, C, H, W]`, neurons see `[T, N, C, H, W]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.neuron.neuron import packed_spikes
from emsyolo.neuron.normalisation import Normalisation
from emsyolo.neuron.packed import Packed


def over_time(x: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """A stateless function of `[N, C, H, W]` applied to every step of `[T, N, C, H, W]`.

    Where all steps are one and the same tensor (`expand` over T, as for a still image), it is computed once: this is
    how the stem runs once per image. Normalisation in training then counts N instead of T*N samples in the correction
    of its running variance, n/(n-1); all else is identical.
    """
    if x.shape[0] > 1 and x.stride(0) == 0:
        return over_time(x[:1], apply).expand(x.shape[0], -1, -1, -1, -1)
    return functional.seq_to_ann_forward(x, apply)


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Maps `[T, N, C, H, W]` side by side along C; torch keeps channels_last where it joins four axes, not five."""
    return torch.cat([_folded(x) for x in maps], dim=1).unflatten(0, (maps[0].shape[0], maps[0].shape[1]))


def over_steps(x: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """A reduction over T of `[T, N, C, H, W]`; where the steps are channels_last its result is, too."""
    if x.shape[2] == 1 or x.stride(2) != 1:
        return reduce(x)
    return reduce(x.movedim(2, -1)).movedim(-1, -3)


def _folded(x: Tensor) -> Tensor:
    """`[T, N, C, H, W]` as `[T*N, C, H, W]`."""
    if x.shape[0] > 1 and x.stride(0) == 0:  # a copy, which `flatten` would not make channels_last
        return torch.cat([x[0]] * x.shape[0])
    return x.flatten(0, 1)


def _left_to(neuron: nn.Module, layer: nn.Module, x: Tensor) -> Normalisation | None:
    """The normalisation that a layer is, where the neuron behind it does it in one pass with its own work.

    Not while torch compiles (it joins a normalisation with what is before it), where somebody watches either of them or
    counts the operations of torch, or where all steps are one and the same tensor, which is normalised once.
    """
    of, normalises = getattr(layer, "normalisation", None), getattr(neuron, "normalises", None)
    if of is None or normalises is None or torch.compiler.is_compiling():
        return None
    if _watched(layer) or _watched(neuron) or _get_current_dispatch_mode() is not None:
        return None
    if (len(x) > 1 and x.stride(0) == 0) or not normalises(x):
        return None
    found: Normalisation | None = of(x.flatten(0, 1))
    return found


def _watched(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


class MultiStep(nn.Sequential):
    """Layers in a row over `[T, N, C, H, W]`: neurons step through time, all other layers see time as batch.

    Rows in a row are one row, and so are layers that keep no more than bits where there are none: a normalisation at
    the end of one of them is left to the neuron that begins the next.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` in and out."""
        packed: Packed | None = None  # x as bits, where it comes from a neuron that packs its spikes
        norm: Normalisation | None = None  # of x, where it is left to the neuron behind it
        layers = _in_a_row(self)
        while layers:
            layer = layers.pop(0)
            if packed is None and isinstance(layer, FromSpikes) and not _watched(layer):
                layers[:0] = list(layer)
                continue
            if norm is not None:
                x, norm = layer(x, norm=norm), None
            elif layers and (norm := _left_to(layers[0], layer, x)) is not None:
                continue
            elif isinstance(layer, (base.MemoryModule, MultiStep)):
                x = layer(x)
            elif packed is not None and getattr(layer, "takes_packed", False):
                x = over_time(x, partial(layer, packed=packed))
            else:
                x = over_time(x, layer)
            packed = packed_spikes(layer)
        return x


def _in_a_row(layers: nn.Sequential) -> list[nn.Module]:
    """The layers, those of rows among them one by one, unless somebody watches the row."""
    found: list[nn.Module] = []
    for layer in layers:
        found.extend(_in_a_row(layer) if isinstance(layer, MultiStep) and not _watched(layer) else [layer])
    return found
