"""Batch normalisation, taken into the convolution before it."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.layer.rep import RepConv

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


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
