"""Time and batch: stateless layers see `[T*N, C, H, W]`, neurons see `[T, N, C, H, W]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.neuron.neuron import packed_spikes
from emsyolo.neuron.normalisation import Normalisation
from emsyolo.neuron.packed import Packed

Shortcut = Callable[[Tensor], Tensor]


def over_time(x: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """A stateless function of `[N, C, H, W]` applied to every step of `[T, N, C, H, W]`.

    Where all steps are one and the same tensor (`expand` over T, as for a still image), it is computed once: this is
    how the stem runs once per image. Normalisation in training then counts N instead of T*N samples in the correction
    of its running variance, n/(n-1); all else is identical.
    """
    if x.shape[0] > 1 and x.stride(0) == 0:
        return over_time(x[:1], apply).expand(x.shape[0], -1, -1, -1, -1)
    if x.shape[0] == 1:  # with sizes that are known, which spares exporters much arithmetic with N
        return apply(x.squeeze(0)).unsqueeze(0)
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


class Residual(nn.Module):
    """Sums in a row over `[T, N, C, H, W]`, each of what layers and a shortcut make of the sum before it."""

    def sums(self) -> Sequence[tuple[nn.Module, Shortcut | None]]:
        """The layers and the shortcut of each sum; None: the identity."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C_in, H, W]` to `[T, N, C_out, H', W']`."""
        return _run(x, _of_sums(self))


class MultiStep(nn.Sequential):
    """Layers in a row over `[T, N, C, H, W]`: neurons step through time, all other layers see time as batch."""

    def forward(self, x: Tensor) -> Tensor:
        """`[T, N, C, H, W]` in and out."""
        return in_a_row(x, self)


def in_a_row(x: Tensor, layers: Iterable[nn.Module]) -> Tensor:
    """What layers make of `[T, N, C, H, W]`, one after the other.

    Rows in a row are one row, and so are the sums of residual blocks, and layers that keep no more than bits where
    there are none: a normalisation at the end of one of them, and the addition of the shortcut behind it, are left to
    the neuron that begins the next.
    """
    return _run(x, _steps(layers))


def _run(x: Tensor, left: list[Any]) -> Tensor:
    packed: Packed | None = None  # x as bits, where it comes from a neuron that packs its spikes
    fed: list[Tensor] = []  # what the sums around were fed with
    while left:
        step = left.pop(0)
        if step is _BEGIN:
            fed.append(x)
            continue
        if isinstance(step, _End):
            x, packed = x + step.beside(fed.pop()), None
            continue
        if packed is None and isinstance(step, FromSpikes) and not _watched(step):
            left[:0] = list(step)
            continue
        if (neuron := _taker(step, x, left)) is not None:
            x, step = _taken(neuron, step, x, left, fed)
        elif isinstance(step, (base.MemoryModule, MultiStep, Residual)):
            x = step(x)
        elif packed is not None and getattr(step, "takes_packed", False):
            x = over_time(x, partial(step, packed=packed))
        else:
            x = over_time(x, step)
        packed = packed_spikes(step)
    return x


class _End:
    """Of a sum: the output of a shortcut is added."""

    def __init__(self, shortcut: Shortcut | None) -> None:
        self.shortcut = shortcut

    def beside(self, fed: Tensor) -> Tensor:
        """What the shortcut makes of what the sum was fed with."""
        return fed if self.shortcut is None else self.shortcut(fed)


_BEGIN = object()  # of a sum


def _steps(layers: Iterable[nn.Module]) -> list[Any]:
    """Layers, those of rows and sums among them one by one, unless somebody watches the row or the block."""
    found: list[Any] = []
    for layer in layers:
        if isinstance(layer, MultiStep) and not _watched(layer):
            found.extend(_steps(layer))
        elif isinstance(layer, Residual) and not _watched(layer):
            found.extend(_of_sums(layer))
        else:
            found.append(layer)
    return found


def _of_sums(block: Residual) -> list[Any]:
    found: list[Any] = []
    for row, shortcut in block.sums():
        found.extend((_BEGIN, *_steps([row]), _End(shortcut)))
    return found


def _taker(layer: nn.Module, x: Tensor, left: Sequence[Any]) -> nn.Module | None:
    """The neuron that can do the work of a layer in one pass with its own: a normalisation's, before a shortcut or not.

    Not while torch compiles (it joins a normalisation with what is before it), where somebody watches either of them or
    counts the operations of torch, or where all steps are one and the same tensor, which is normalised once.
    """
    if not hasattr(layer, "normalisation") or torch.compiler.is_compiling():
        return None
    ends = 1 if left and isinstance(left[0], _End) else 0
    ahead = [step for step in left[ends : ends + 2] if step is not _BEGIN][:1]
    if not ahead or not hasattr(ahead[0], "normalises"):
        return None
    neuron: Any = ahead[0]
    if _watched(layer) or _watched(neuron) or _get_current_dispatch_mode() is not None:
        return None
    return neuron if not (len(x) > 1 and x.stride(0) == 0) and neuron.normalises(x) else None


def _taken(neuron: nn.Module, layer: nn.Module, x: Tensor, left: list[Any], fed: list[Tensor]) -> tuple[Tensor, Any]:
    """What a neuron makes of maps before their normalisation, and who did the last of it: the neuron, if it can.

    Args:
        neuron: the next layer; before it a sum may end, and another begin.
        layer: the normalisation.
        x: the maps.
        left: the steps from there on; those that are done are taken away.
        fed: what the sums around were fed with.
    """
    add = left.pop(0).beside(fed.pop()) if isinstance(left[0], _End) else None
    fits = add is None or (add.shape == x.shape and add.dtype == x.dtype)
    norm: Normalisation | None = cast(Any, layer).normalisation(x.flatten(0, 1)) if fits else None
    if norm is None:
        x = over_time(x, layer)
        return x if add is None else x + add, layer
    begins = left[0] is _BEGIN
    del left[: 2 if begins else 1]
    if not begins:
        return neuron(x, norm=norm, add=add), neuron
    spikes, currents = neuron(x, norm=norm, add=add, total=True)
    fed.append(currents)
    return spikes, neuron


def _watched(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
