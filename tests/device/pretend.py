"""A device that is not there: what a GPU would wait for, and what it would refuse, seen on a CPU."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

# torch keeps no values on it and asks no driver for it; here a tensor on it holds its values on the host.
DEVICE = torch.device("meta")
PACKAGE = str(Path(__file__).resolve().parents[2] / "emsyolo")
aten = torch.ops.aten

# Their result has a size, or is a number, that the host must know.
ASKING = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique", "_unique2",
    "unique_consecutive", "unique_dim_consecutive", "bincount", "repeat_interleave", "nms",
}  # fmt: skip
MULTIPLYING = {"mm", "mv", "bmm", "addmm", "addmv", "baddbmm", "addbmm", "dot", "vdot"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class OnDevice(Tensor):
    """A tensor that says it is on the device."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            device=DEVICE,
        )  # fmt: skip

    def __init__(self, host: Tensor) -> None:
        self.host = host

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the pretended device outside of `Pretended`")


@contextmanager
def pretended() -> Iterator[Pretended]:
    """Within, `to(DEVICE)` brings modules and tensors to the device."""
    # The one call that no mode sees.
    with patch.object(Tensor, "as_subclass", _as_subclass), _Calls(), Pretended() as device:
        yield device


class Pretended(TorchDispatchMode):
    """Computes on the host what is on the device, and counts what the host would wait for.

    Refuses integer products of matrices, tensors of host and device in one operation, and `numpy` of the device's, as
    CUDA does. A copy to the device is a wait unless it comes from pinned memory and is not blocking; one from it always
    is. An index or a mask on the host that is applied to the device's is a copy; a mask on the device is a `nonzero`.

    Attributes:
        waits: how often, by place in the source.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self._pinned: set[int] = set()
        self._kept: list[Tensor] = []  # pinned; an address that is free again could be another's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.split("::")[1]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = any(isinstance(tensor, OnDevice) for tensor in tensors)
        if name in ("_pin_memory", "is_pinned"):
            return self._pin(name, args[0])
        if not here and kwargs.get("device") != DEVICE:
            return func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            return self._copied(name, func, args, kwargs)
        self._ask(name, args, tensors)
        if name in MULTIPLYING and any(not _real(tensor) for tensor in tensors):
            raise NotImplementedError(f'"{name}_cuda" not implemented for {tensors[0].dtype}')
        if kwargs.get("device") == DEVICE:
            kwargs["device"] = torch.device("cpu")
        found = func(*tree_map(_values, args), **tree_map(_values, kwargs))
        if name == "_local_scalar_dense":
            return found
        wrapped = tree_map(_wrapped, found)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if func._schema.is_mutable else wrapped

    def _ask(self, name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
        """Count what an operation waits for, and refuse tensors of two devices."""
        indices: list[Any] = []
        if name in INDEXING:
            indices = [index for index in args[1] if index is not None]
            for index in indices:
                if index.dtype in (torch.bool, torch.uint8) or not isinstance(index, OnDevice):
                    self._wait(f"{name} by a {'mask' if index.dtype == torch.bool else 'host index'}")
        elif name in ASKING:
            self._wait(name)
        strange = [
            one for one in tensors if not isinstance(one, OnDevice) and one.ndim and all(one is not i for i in indices)
        ]
        if strange:
            raise RuntimeError(
                f"{name}: expected all tensors to be on the same device; {tuple(strange[0].shape)} is not"
            )

    def _copied(self, name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        source = args[1] if name == "copy_" else args[0]
        aim = args[0].device if name == "copy_" else (kwargs.get("device") or source.device)
        blocking = not (kwargs.get("non_blocking", False) or (name == "copy_" and len(args) > 2 and args[2]))
        if isinstance(source, OnDevice) and aim != DEVICE:
            self._wait("copy to the host")
        elif not isinstance(source, OnDevice) and aim == DEVICE and (blocking or not self._is_pinned(source)):
            self._wait("blocking copy to the device")
        if name == "copy_":
            func(_values(args[0]), _values(source))
            return args[0]
        kwargs.pop("device", None)
        kwargs.pop("non_blocking", None)
        kwargs.pop("pin_memory", None)
        found = func(_values(source), **kwargs)
        return OnDevice(found) if aim == DEVICE else found

    def _pin(self, name: str, x: Tensor) -> Any:
        if name == "is_pinned":
            return self._is_pinned(x)
        pinned = x.clone()
        self._kept.append(pinned)
        self._pinned.add(pinned.untyped_storage().data_ptr())
        return pinned

    def _is_pinned(self, x: Tensor) -> bool:
        return not isinstance(x, OnDevice) and x.untyped_storage().data_ptr() in self._pinned

    def _wait(self, what: str) -> None:
        self.waits[f"{_place()}: {what}"] += 1


class _Calls(TorchFunctionMode):
    """Python values that go to the device, which torch would not send to its own `meta`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        for kind in types:
            if kind is not OnDevice and issubclass(kind, OnDevice):
                with self:
                    return kind.__torch_function__(func, types, args, kwargs)
        if name in ("tensor", "as_tensor", "asarray") and _is_device(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(DEVICE)
        if name == "new_tensor" and isinstance(args[0], OnDevice):
            return torch.tensor(*args[1:], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        if name in ("__getitem__", "__setitem__") and isinstance(args[0], OnDevice):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(one) if isinstance(one, list) else one for one in index)
            args = (args[0], index, *args[2:])
        if name == "tolist" and isinstance(args[0], OnDevice):
            return args[0].to("cpu").tolist()
        if name == "pin_memory":
            return aten._pin_memory(args[0])
        if name == "numpy" and isinstance(args[0], OnDevice):
            raise TypeError("can't convert a tensor of the device to numpy")
        return func(*args, **kwargs)


def _as_subclass(x: Tensor, kind: type[Tensor]) -> Tensor:
    return _seen_as(kind)(x.host) if isinstance(x, OnDevice) else torch._C.TensorBase.as_subclass(x, kind)


@cache
def _seen_as(kind: type[Tensor]) -> type[OnDevice]:
    """A subclass of tensors on the device."""
    return OnDevice if kind is Tensor else type(kind.__name__, (kind, OnDevice), {})


def _values(x: Any) -> Any:
    return x.host if isinstance(x, OnDevice) else x


def _wrapped(x: Any) -> Any:
    return OnDevice(x) if isinstance(x, Tensor) and not isinstance(x, OnDevice) else x


def _real(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device) == DEVICE


def _place() -> str:
    """The innermost line of the package, or else of whoever called torch."""
    frames = traceback.extract_stack()
    for frame in reversed(frames):
        if frame.filename.startswith(PACKAGE):
            return f"{frame.filename.removeprefix(PACKAGE + '/')}:{frame.lineno}"
    for frame in reversed(frames):
        if "/torch/" not in frame.filename and __file__ != frame.filename:
            return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
    return "?"
