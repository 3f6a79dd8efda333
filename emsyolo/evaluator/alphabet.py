"""What is known of a tensor's values by declaration: it travels with the tensor from the neuron that sent it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emsyolo.neuron.neuron import Spikes

# Functions, by name, whose results hold values of their first argument only (or zeros, where they pad).
MOVING = {
    "flatten", "unflatten", "reshape", "view", "view_as", "expand", "expand_as", "contiguous", "clone", "detach", "to",
    "float", "double", "half", "bfloat16", "cpu", "cuda", "type_as", "permute", "movedim", "transpose", "swapaxes",
    "squeeze", "unsqueeze", "narrow", "select", "unbind", "split", "chunk", "repeat", "repeat_interleave", "roll",
    "flip", "index_select", "__getitem__", "max_pool2d", "max_pool2d_with_indices", "max_pool2", "max_pool2.default",
    "pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
}  # fmt: skip
ADDING = {"add", "add_", "__add__", "__radd__", "__iadd__"}
JOINING = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}


@dataclass(frozen=True)
class Declared:
    """What was declared of a tensor.

    Attributes:
        spikes: its values are spikes of this alphabet; None: they are numbers.
    """

    spikes: Spikes | None


NUMBERS = Declared(None)


class Tagged(Tensor):
    """A tensor that knows what was declared of its values; everything else about it is a tensor's.

    What only moves values keeps the declaration, what joins spikes widens it, and whatever computes gives numbers. Of a
    sum of spikes (SEW) nothing is declared: it is judged by what it holds.
    """

    declared: Declared

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*_mapped(args, bare), **{key: _mapped(value, bare) for key, value in kwargs.items()})
        name = getattr(func, "__name__", "")
        if name == "interpolate":
            name = "view" if kwargs.get("mode", "nearest") == "nearest" else name
        if name in MOVING:
            declared = declared_of(args[0])
        elif name in JOINING:
            declared = joined(declared_of(tensor) for tensor in (args[0] if args else kwargs["tensors"]))
        elif name in ADDING and all(isinstance(arg, Tensor) and declared_of(arg) != NUMBERS for arg in args[:2]):
            declared = None
        else:
            declared = NUMBERS
        return _mapped(result, lambda tensor: tagged(tensor, declared))


def tagged(x: Tensor, declared: Declared | None) -> Tensor:
    """The tensor with a declaration; with None as it is."""
    if declared is None:
        return bare(x)
    found = bare(x).as_subclass(Tagged)
    found.declared = declared
    return found


def bare(x: Tensor) -> Tensor:
    """The tensor without its declaration."""
    return x.as_subclass(Tensor) if isinstance(x, Tagged) else x


def declared_of(x: Any) -> Declared | None:
    """What was declared of a tensor; None: nothing, for example of frames."""
    return x.declared if isinstance(x, Tagged) else None


def joined(parts: Iterable[Declared | None]) -> Declared | None:
    """What is known of tensors that were put beside each other."""
    listed = list(parts)
    if NUMBERS in listed:
        return NUMBERS
    alphabets = [part.spikes for part in listed if part is not None and part.spikes is not None]
    if len(alphabets) < len(listed):
        return None
    return Declared(Spikes(max(spikes.levels for spikes in alphabets), any(spikes.signed for spikes in alphabets)))


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        changed = [_mapped(part, change) for part in value]
        return type(value)(changed) if type(value) in (list, tuple) else value
    return value
