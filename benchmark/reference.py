"""What the benchmarks compare with: the network step by step, on SpikingJelly's neuron, or its convolutions alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import spikingjelly.activation_based.layer as sj_layer
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional

from emsyolo.layer.tdbn import TdBN
from emsyolo.model.detector import Detector
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.lif import LIF


class Repeat(nn.Module):
    """A still image copied to every step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.T = steps

    def forward(self, frames: Tensor, dtype: torch.dtype, steps: int | None = None) -> Tensor:
        return frames.to(dtype).repeat(self.T, 1, 1, 1, 1)


def step_by_step(detector: Detector) -> Detector:
    """A loop of Python over T for every convolution and neuron, and copies between the orders of axes for every
    normalisation: the form of the published code."""
    steps = detector.T
    for parent in list(detector.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LIF):
                setattr(parent, name, SteppedLIF(child))
            elif isinstance(child, TdBN):
                setattr(parent, name, _TransposedNorm(child, steps))
            elif isinstance(child, nn.Conv2d) and parent is not detector.head.maps:
                setattr(parent, name, _SteppedConv(child, steps))
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.MaxPool2d(child.kernel_size, child.stride))
    detector.encode = Repeat(steps)  # type: ignore[assignment]
    return detector


def on_spikingjelly(detector: Detector) -> Detector:
    """The plain multi-step network: SpikingJelly's LIFNode and tdBN, torch's pooling, the stem at every step."""
    for parent in list(detector.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LIF):
                setattr(parent, name, spikingjelly_lif(child))
            elif isinstance(child, TdBN):
                v_threshold = child.weight[0].item() / child.alpha
                norm = sj_layer.ThresholdDependentBatchNorm2d(child.alpha, v_threshold, child.num_features)
                norm.load_state_dict(child.state_dict())
                norm.to(child.weight.device)
                setattr(parent, name, _Folded(norm))
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.MaxPool2d(child.kernel_size, child.stride))
    detector.encode = Repeat(detector.T)  # type: ignore[assignment]
    return detector


def in_passes(detector: Detector) -> Detector:
    """Normalisation, addition of the shortcut and neuron each in a pass of its own over the memory."""
    for module in detector.modules():
        if hasattr(module, "normalises"):
            module.normalises = lambda x: False  # type: ignore[assignment]
    return detector


def convolutions_alone(
    detector: Detector, frames: Tensor, backward: bool, dtype: torch.dtype | None = None
) -> Callable[[], None]:
    """The network's convolutions on the inputs that they have in it, and nothing else; None: in the maps' own dtype.

    The inputs are found, and kept, when it is first run.
    """
    seen: list[tuple[nn.Conv2d, Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        x = args[0].detach().clone().to(dtype or args[0].dtype)
        seen.append((module, x, torch.randn_like(output, dtype=x.dtype)))

    def find() -> None:
        convolutions = [one for one in detector.modules() if isinstance(one, nn.Conv2d)]
        handles = [one.register_forward_hook(note) for one in convolutions]
        with torch.no_grad():
            detector(frames)
        for handle in handles:
            handle.remove()

    def run() -> None:
        if not seen:
            find()
        for place, (module, x, upstream) in enumerate(seen):
            weight, bias = module.weight.to(x.dtype), None if module.bias is None else module.bias.to(x.dtype)
            leaf = x.requires_grad_(backward and place > 0)  # the image needs none
            out = functional.conv2d(leaf, weight, bias, module.stride, module.padding)
            if backward:
                wanted = [one for one in (leaf, module.weight) if one.requires_grad]
                torch.autograd.grad(out, wanted, upstream.to(out.dtype))

    return run


def spikingjelly_lif(node: LIF) -> neuron.LIFNode:
    """SpikingJelly's own node with the constants of ours."""
    return neuron.LIFNode(
        tau=node.tau,
        decay_input=False,
        v_threshold=node.v_threshold,
        v_reset=0.0,
        surrogate_function=surrogate.Rect(alpha=1 / node.surrogate_width),
        detach_reset=True,
        step_mode="m",
    )


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, potential: Tensor, threshold: float, width: float) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.threshold, ctx.width = threshold, width
        return potential.ge(threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (potential,) = ctx.saved_tensors
        inside = (potential - ctx.threshold).abs() < ctx.width / 2
        return grad * inside.to(grad.dtype) / ctx.width, None, None


class SteppedLIF(neuron.BaseNode):
    """A loop of Python over T, an operator of torch for every part of the equation."""

    def __init__(self, node: LIF) -> None:
        super().__init__(v_threshold=node.v_threshold, v_reset=0.0, step_mode="m")
        self.decay, self.width = node.decay, node.surrogate_width

    def neuronal_charge(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def multi_step_forward(self, x: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        out = torch.zeros_like(x)
        potential = spike = torch.zeros_like(x[0])
        for t in range(len(x)):
            potential = potential * self.decay * (1 - spike.detach()) + x[t]
            spike = _Fire.apply(potential, self.v_threshold, self.width)
            out[t] = spike
        return out


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, potential: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.levels = levels
        return potential.clamp(0, levels).round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (potential,) = ctx.saved_tensors
        inside = (potential >= 0) & (potential <= ctx.levels)
        return grad * inside.to(grad.dtype), None


class SteppedILIF(neuron.BaseNode):
    """The integer-valued neuron as a loop of Python over T, an operator of torch for every part of the equation."""

    def __init__(self, node: ILIF) -> None:
        super().__init__(v_threshold=node.v_threshold, v_reset=0.0, step_mode="m")
        self.node_decay, self.levels, self.scale = node.decay, node.levels, node.input_scale
        self.spikes = node.spikes

    def neuronal_charge(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def multi_step_forward(self, x: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        found = []
        potential = spike = torch.zeros_like(x[0])
        for step in x:
            potential = (potential - spike.detach()) * self.node_decay + step * (self.scale / self.v_threshold)
            spike = _Round.apply(potential, self.levels)
            found.append(spike)
        return torch.stack(found)


def plainly(detector: Detector) -> Detector:
    """A network of integer-valued neurons with these as loops of torch's operators, and all else as torch has it."""
    for parent in list(detector.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ILIF):
                setattr(parent, name, SteppedILIF(child))
    return detector


class _SteppedConv(nn.Module):
    def __init__(self, convolution: nn.Conv2d, steps: int) -> None:
        super().__init__()
        self.convolution, self.steps = convolution, steps

    def forward(self, x: Tensor) -> Tensor:
        results = [self.convolution(one) for one in x.unflatten(0, (self.steps, -1))]
        out = torch.zeros((self.steps, *results[0].shape), dtype=results[0].dtype, device=x.device)
        for t, one in enumerate(results):
            out[t] = one
        return out.flatten(0, 1)


class _TransposedNorm(nn.Module):
    def __init__(self, norm: TdBN, steps: int) -> None:
        super().__init__()
        self.norm, self.steps = nn.BatchNorm3d(norm.num_features, device=norm.weight.device), steps
        self.norm.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        y = x.unflatten(0, (self.steps, -1)).permute(1, 2, 0, 3, 4).contiguous()
        return self.norm(y).permute(2, 0, 1, 3, 4).contiguous().flatten(0, 1)


class _Folded(nn.Module):
    """SpikingJelly's own step mode folds [T, N]; here the container has folded already."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm.super_forward(x)  # type: ignore[no-any-return, operator]
