"""Batch normalisation, taken into the convolution before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_weights
from torchvision.ops import FrozenBatchNorm2d

from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.layer.rep import RepConv

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d)
TAKES_NORMALISATION = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    nn.Linear,
)


def fold_normalisation(network: nn.Module) -> None:
    """Replace every convolution and the normalisation that follows it by one convolution, in place.

        W' = W * gamma / sqrt(var + eps),    b' = beta + (b - mean) * gamma / sqrt(var + eps)

    Ming and Li, 2024, (13)-(14), whose scale is misprinted (sign and square root). With the running statistics: the
    network's outputs in evaluation stay the same. Re-parameterised convolutions become one dense 3x3 first.

    Raises:
        ValueError: a normalisation that no convolution comes before; names it.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, RepConv):
                setattr(parent, name, child.dense())
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        children = dict(parent.named_children())
        names = list(children)
        for before, name in pairwise(names):
            norm, convolution = children[name], children[before]
            if isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, CONVOLUTIONS):
                training = parent.training
                folded = fuse_conv_bn_eval(convolution.eval(), norm.eval(), isinstance(convolution, nn.ConvTranspose2d))
                setattr(parent, before, folded.train(training))
                delattr(parent, name)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FromSpikes) and len(child) == 1:
                setattr(parent, name, child[0])
    left = [name for name, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    if left:
        raise ValueError(f"normalisation {', '.join(left)} follows no convolution; expected one that can be folded")


def fold_calls(network: fx.GraphModule) -> None:
    """As `fold_normalisation`, by the graph of a traced network, in place: by what follows what in each call.

    A normalisation of maps that cannot be taken into a layer, because what comes before is a sum, or is read by others,
    too, becomes a 1x1 convolution of single channels. One of vectors stays, which is linear in evaluation.
    """
    calls: dict[str, list[fx.Node]] = {}
    for node in network.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    for target, nodes in calls.items():
        norm = network.get_submodule(target)
        if not isinstance(norm, NORMALISATIONS):
            continue
        before = [node.all_input_nodes[0] for node in nodes]
        names = {str(node.target) if node.op == "call_module" else "" for node in before}
        name = names.pop()
        layer = network.get_submodule(name) if name and not names else None
        alone = layer is not None and len(calls[name]) == len(nodes) and all(len(node.users) == 1 for node in before)
        if layer is not None and alone and _takes(layer):
            _take(layer, norm)
            for node, one in zip(nodes, before, strict=True):
                node.replace_all_uses_with(one)
                network.graph.erase_node(node)
        elif isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
            network.add_submodule(target, _by_channel(norm))


def _takes(layer: nn.Module) -> bool:
    """Whether normalisation can be taken into a layer: not where its weights are made anew in every call."""
    transposed_in_groups = isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups > 1
    return type(layer) in TAKES_NORMALISATION and not transposed_in_groups and not layer._forward_pre_hooks


def _take(layer: Any, norm: Any) -> None:
    """Take a normalisation into the weights of a layer, in place."""
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    if isinstance(layer, nn.Linear):
        layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
    else:
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, transpose=transposed)


def _by_channel(norm: Any) -> nn.Conv2d:
    """The convolution that a normalisation of maps is."""
    channels = len(norm.running_mean)
    convolution = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).to(norm.running_mean)
    torch.nn.init.ones_(convolution.weight)
    _take(convolution, norm)
    return convolution
