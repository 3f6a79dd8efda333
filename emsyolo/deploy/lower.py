"""A detector in plain operators: what every exporter begins with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from emsyolo.convert.fold import fold_normalisation
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import is_neuron, plain_form, waits_for_all


def lowered(detector: Detector) -> Detector:
    """A copy on the CPU, in float32: normalisation folded, neurons and pooling in operators that exporters know.

    It computes what the detector does, up to rounding, all steps at once; its memories are registered as before.

    Args:
        detector: a trained one; left untouched.
    """
    copied = copy.deepcopy(detector).cpu().float().eval().requires_grad_(requires_grad=False)
    copied.to(memory_format=torch.contiguous_format)
    fold_normalisation(copied)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if is_neuron(child) or hasattr(child, "plain"):
                setattr(parent, name, plain_form(child))
    if waits_for_all(copied) is None:
        copied.chunk = None
    return copied


def has_state(network: nn.Module) -> bool:
    """Whether a network goes on from step to step, so that one step of it makes sense."""
    memories = [module for module in network.modules() if getattr(module, "_memories", None)]
    return bool(memories) and waits_for_all(network) is None
