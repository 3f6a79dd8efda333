"""NIR files: the network as a graph of the Neuromorphic Intermediate Representation, for other simulators and chips.

SpikingJelly's own exporter traces a network and knows layers in a row alone; residual blocks add what comes in by two
edges, which NIR does by itself. Pedersen et al., Nature Communications 2024.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emsyolo.convert.fold import fold_normalisation
from emsyolo.model.block import EMSBlock1, EMSBlock2, MSBlock, SEWBlock
from emsyolo.model.detector import Detector
from emsyolo.model.resnet import ResNet
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.multistep import MultiStep
from emsyolo.weights.atomic import written_whole

Size = tuple[int, int, int]  # channels, height, width


class NotInNIR(ValueError):
    """A layer that NIR has no node for."""


class Graph:
    """Nodes and edges as they are gathered; a value is the sum of its sources.

    Args:
        size: `(C, H, W)` of a frame.
        dt: seconds per time step.
    """

    def __init__(self, size: Size, dt: float) -> None:
        import nir  # an extra: pip install 'emsyolo[export]'

        self.nir = nir
        self.dt = dt
        self.nodes: dict[str, Any] = {"input": nir.Input(np.array(size))}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: Any, sources: Sequence[str]) -> list[str]:
        """A node fed by the sum of the sources."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return [name]

    def lay_or_nothing(self, name: str, module: nn.Module, sources: list[str], size: Size) -> tuple[list[str], Size]:
        """As `lay`, but where it raises nothing of the module stays."""
        nodes, edges = dict(self.nodes), list(self.edges)
        try:
            return self.lay(name, module, sources, size)
        except NotInNIR:
            self.nodes, self.edges = nodes, edges
            raise

    def lay(self, name: str, module: nn.Module, sources: list[str], size: Size) -> tuple[list[str], Size]:
        """A module behind the sources; gives the sources of what follows, and its size.

        Raises:
            NotInNIR: a layer without a node in NIR, by name.
        """
        if isinstance(module, nn.Identity):
            return sources, size
        if isinstance(module, MultiStep | nn.Sequential):
            for part, layer in module.named_children():
                sources, size = self.lay(f"{name}.{part}", layer, sources, size)
            return sources, size
        if isinstance(module, EMSBlock1):
            through, after = self.lay(f"{name}.residual", module.residual, sources, size)
            return [*through, *sources], after
        if isinstance(module, EMSBlock2 | MSBlock | SEWBlock):
            through, after = self.lay(f"{name}.residual", module.residual, sources, size)
            beside, _ = self.lay(f"{name}.shortcut", module.shortcut, sources, size)
            return [*through, *beside], after
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, sources, size)
        if isinstance(module, LIF):
            return self.add(name, self._neuron(name, module, size), sources), size
        raise NotInNIR(f"{name} is {type(module).__name__}, which NIR has no node for")

    def _convolution(self, name: str, one: nn.Conv2d, sources: list[str], size: Size) -> tuple[list[str], Size]:
        bias = torch.zeros(one.out_channels) if one.bias is None else one.bias
        node = self.nir.Conv2d(
            input_shape=size[1:],
            weight=one.weight.detach().numpy(),
            stride=one.stride,
            padding=one.padding,
            dilation=one.dilation,
            groups=one.groups,
            bias=bias.detach().numpy(),
        )
        channels, height, width = (int(axis) for axis in node.output_type["output"])
        return self.add(name, node, sources), (channels, height, width)

    def _neuron(self, name: str, node: LIF, size: Size) -> Any:
        """Our `u[t] = decay*u[t-1] + x[t]` as NIR's `tau dv/dt = R*I - v` in Euler's steps of dt, with v = (1-decay)*u.

        R stays 1, for simulators differ in what they take it for; hence the threshold is scaled. Without leak it is
        NIR's `dv/dt = R*I` with v = u, and R has to be 1/dt (snnTorch refuses that; its own IF leaks).
        """
        if node.soft_reset:
            raise NotInNIR(f"{name} resets by subtraction, NIR's neurons to a value")
        if node.start:
            raise NotInNIR(f"{name} starts at a potential, NIR's neurons at 0")
        full = np.ones(size, dtype=np.float32)
        if node.decay == 1:
            return self.nir.IF(r=full / self.dt, v_threshold=full * node.v_threshold)
        kept = 1 - node.decay
        return self.nir.LIF(
            tau=full * np.float32(self.dt / kept), r=full, v_leak=full * 0, v_threshold=full * (kept * node.v_threshold)
        )


def parts(detector: Detector) -> list[tuple[str, nn.Module]]:
    """The backbone's parts in a row: stem, then block by block; of other backbones, layer by layer."""
    backbone = detector.backbone
    if not isinstance(backbone, ResNet):
        return [
            (f"backbone.{row}.{name}", layer)
            for row, layers in backbone.named_children()
            for name, layer in layers.named_children()
        ]
    found: list[tuple[str, nn.Module]] = [("backbone.stem", backbone.stem)]
    for i, stage in enumerate(backbone.stages):
        found += [(f"backbone.stages.{i}.{name}", block) for name, block in stage.named_children()]
    return found


def lay_beginning(graph: Graph, detector: Detector, size: Size) -> tuple[list[str], Size, str, NotInNIR | None]:
    """As many of the backbone's parts, from the first on, as NIR can hold; of the next block, its residual path.

    Returns:
        The sources of what would follow, its size, the name of the last part laid, and what ended it.
    """
    sources, last = ["input"], ""
    for name, module in parts(detector):
        try:
            sources, size = graph.lay_or_nothing(name, module, sources, size)
        except NotInNIR as error:
            residual = getattr(module, "residual", None)
            if isinstance(residual, nn.Module):
                with contextlib.suppress(NotInNIR):
                    sources, size = graph.lay_or_nothing(f"{name}.residual", residual, sources, size)
                    last = f"{name}.residual"
            return sources, size, last, error
        last = name
    return sources, size, last, None


def export_nir(detector: Detector, size: Size, path: Path, *, part: str, dt: float) -> str:
    """Write the backbone, or its largest beginning that NIR can hold.

    NIR has no concatenation, max-pooling, upsampling or transposed convolution, hence neither neck nor head.

    Args:
        detector: a trained one; left untouched.
        size: `(C, H, W)` of a frame in px.
        path: of the file.
        part: `backbone`, or `largest`: as many of its parts, from the stem on, as fit. Where a shortcut is pooled, the
            file ends with the residual path beside it, whose two neurons fire, before the addition.
        dt: seconds per time step: NIR's time is continuous. snnTorch reads files with 1e-4.

    Returns:
        The name of the last part that is in the file.

    Raises:
        ValueError: an unknown part, dt <= 0, or a backbone that NIR cannot hold (the layer and what fits are named).
        ModuleNotFoundError: NIR is not installed.
    """
    if part not in ("backbone", "largest"):
        raise ValueError(f"part is {part!r}; expected backbone or largest (NIR can hold neither neck nor head)")
    if not dt > 0:
        raise ValueError(f"dt is {dt}; expected the seconds of a time step, > 0")
    copied = copy.deepcopy(detector).cpu().float().eval()
    fold_normalisation(copied)
    graph = Graph(size, dt)
    sources, size, last, error = lay_beginning(graph, copied, size)
    if error is not None and (part == "backbone" or not last):
        raise ValueError(f"{error}{f'; part=largest exports up to {last}' if last else ''}") from error
    graph.add("output", graph.nir.Output(np.array(size)), sources)
    whole = graph.nir.NIRGraph(nodes=graph.nodes, edges=graph.edges)
    with written_whole(path) as temporary:
        graph.nir.write(str(temporary), whole)
    return last
