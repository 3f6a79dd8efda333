"""What each operation of a traced network is: linear, an activation, max-pooling, or none of what can be converted."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from emsyolo.convert.fold import NORMALISATIONS
from emsyolo.convert.substitute import ACTIVATIONS

MAX_POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
CLIPPED = (*ACTIVATIONS, nn.Hardtanh)  # of which nn.ReLU6 is one
# What changes nothing in evaluation.
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, StochasticDepth)
LINEAR_MODULES = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Flatten, nn.Unflatten),
    *NORMALISATIONS,
)
KNOWN = (*LINEAR_MODULES, *CLIPPED, *MAX_POOLS, *NOTHING)

SHAPES = {"shape", "ndim", "device", "dtype", "size", "dim", "numel"}  # attributes and methods; not values
# Of one tensor, as functions of torch and as methods.
NAMES = [
    "channel_shuffle", "chunk", "clone", "contiguous", "detach", "expand", "flatten", "flip", "float", "mean",
    "movedim", "mul", "mul_", "multiply", "narrow", "neg", "permute", "pixel_shuffle", "pixel_unshuffle", "repeat",
    "reshape", "roll", "select", "split", "squeeze", "sum", "to", "transpose", "unbind", "unflatten", "unsqueeze",
    "view",
]  # fmt: skip
FUNCTIONS = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "interpolate",
    "pad", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "dropout", "dropout2d", "dropout3d",
]  # fmt: skip
LINEAR: set[Any] = {
    *NAMES,
    *(getattr(torch, name) for name in NAMES if hasattr(torch, name)),
    *(getattr(F, name) for name in FUNCTIONS),
    *(operator.getitem, operator.neg, operator.truediv),
}
PRODUCTS: set[Any] = {"mul", "multiply", operator.mul, operator.imul, torch.mul, torch.multiply}  # in either factor
LINEAR |= PRODUCTS
SUMS: set[Any] = {
    *("add", "add_", "sub", "sub_"),
    *(operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub),
    *(torch.cat, torch.concat, torch.concatenate, torch.stack),
}


class Unknown(Exception):
    """An operation that cannot be converted; its text says what it is."""


def _relu(inplace: bool = False) -> nn.Module:
    return nn.ReLU(inplace)


def _leaky_relu(negative_slope: float = 0.01, inplace: bool = False) -> nn.Module:
    return nn.LeakyReLU(negative_slope, inplace)


def _relu6(inplace: bool = False) -> nn.Module:
    return nn.Hardtanh(0.0, 6.0, inplace)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> nn.Module:
    return nn.Hardtanh(min_val, max_val, inplace)


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:
    if min != 0:
        raise Unknown(f"clamp from {min}")
    return nn.ReLU() if max is None else nn.Hardtanh(0.0, max)


def _max_pool(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def made(
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:
        return kind(kernel_size, stride, padding, dilation, return_indices, ceil_mode)

    return made


# Functions and methods by what they make of their arguments, but for the first: the layer that does the same.
LAYERS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), _relu),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky_relu),
    F.relu6: _relu6,
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _hardtanh),
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clamp_", "clip", "clip_"), _clamp),
    **dict.fromkeys((torch.clamp_min, "clamp_min", "clamp_min_"), _clamp),
    **dict.fromkeys((F.max_pool1d, torch.max_pool1d), _max_pool(nn.MaxPool1d)),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _max_pool(nn.MaxPool2d)),
    **dict.fromkeys((F.max_pool3d, torch.max_pool3d), _max_pool(nn.MaxPool3d)),
    F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    F.adaptive_max_pool3d: nn.AdaptiveMaxPool3d,
}


def called(node: fx.Node) -> str:
    """What a function or method is called, such as `relu_`."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    # Max-pooling is dispatched by functions of no name of their own; the node has it, with a number.
    return node.name.rstrip("_0123456789") if name == "fn" else name


def asks_shape(node: fx.Node) -> bool:
    """Whether an operation on maps gives their shape, or kind, and not values."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in SHAPES
    return node.op == "call_method" and node.target in SHAPES


def layer_of(node: fx.Node, module: nn.Module | None) -> nn.Module | None:
    """The activation or max-pooling that an operation is, as a layer of its own; None: it is neither.

    Args:
        node: of the graph.
        module: that it calls, if it does.

    Raises:
        Unknown: one that no spiking layer stands for.
    """
    layer: Any
    if module is not None:
        layer = copy.deepcopy(module) if isinstance(module, (*CLIPPED, *MAX_POOLS)) else None
    elif node.target in LAYERS and node.op != "get_attr":
        arguments = node.args[1:] if node.args else ()
        named = {name: value for name, value in node.kwargs.items() if name != "input"}
        if any(isinstance(value, fx.Node) for value in (*arguments, *named.values())):
            raise Unknown(f"{called(node)} of a window or bound that is not a number")
        layer = LAYERS[node.target](*arguments, **named)
        if called(node).endswith("_"):
            layer.inplace = True
    else:
        return None
    if isinstance(layer, nn.Hardtanh) and not (layer.min_val == 0 < layer.max_val):
        raise Unknown(f"{type(layer).__name__} from {layer.min_val} to {layer.max_val}")
    if getattr(layer, "return_indices", False):
        raise Unknown(f"{type(layer).__name__} with return_indices")
    return layer


def refuse_unknown(node: fx.Node, module: nn.Module | None, inputs: list[fx.Node]) -> None:
    """Refuse an operation that is not linear in the maps that it is given.

    Args:
        node: of the graph.
        module: that it calls, if it does.
        inputs: those of its inputs that are maps, as often as they occur.

    Raises:
        Unknown: one that is not.
    """
    if module is not None:
        if not isinstance(module, LINEAR_MODULES):
            raise Unknown(type(module).__name__)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise Unknown(f"{type(module).__name__} without running statistics")
        return
    if node.target in SUMS:
        return
    if node.target not in LINEAR:
        raise Unknown(called(node))
    first = node.args[0] if node.args else node.kwargs.get("input")
    if len(inputs) > 1:
        raise Unknown(f"{called(node)} of two maps")
    if first is not inputs[0] and node.target not in PRODUCTS:
        raise Unknown(f"{called(node)} by a map")
