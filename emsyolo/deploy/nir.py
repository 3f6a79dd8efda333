"""NIR files: the network as a graph of the Neuromorphic Intermediate Representation, for other simulators and chips.

SpikingJelly's own exporter traces a network and knows only layers in a row; residual blocks add what comes in by two
edges, which NIR does by itself. Pedersen et al., Nature Communications 2024.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from emsyolo.deploy.lower import lowered
from emsyolo.io import written_whole
from emsyolo.layer.multistep import MultiStep, Residual
from emsyolo.model.detector import Detector
from emsyolo.neuron.neuron import Spikes, is_neuron, spikes_of
from emsyolo.neuron.plain import PlainLIF
from emsyolo.types import Candidates

log = logging.getLogger(__name__)
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
        if isinstance(module, Residual):
            names = {part: own for own, part in module.named_children()}
            for row, shortcut in module.sums():
                beside = sources
                if isinstance(shortcut, nn.Module):
                    beside, _ = self.lay(f"{name}.{names[shortcut]}", shortcut, sources, size)
                elif shortcut is not None:
                    raise NotInNIR(f"{name} is {type(module).__name__}, which NIR has no node for")
                sources, size = self.lay(f"{name}.{names[row]}", row, sources, size)
                sources = [*sources, *beside]
            return sources, size
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, sources, size)
        if isinstance(module, PlainLIF):
            return self.add(name, self._neuron(name, module, size), sources), size
        if is_neuron(module):
            sent = spikes_of(module)
            kind = type(module).__name__ if sent is None or sent == Spikes() else f"a neuron that sends {sent.levels}"
            raise NotInNIR(f"{name} is {kind}; of neurons NIR has the leaky one with a reset to 0")
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

    def _neuron(self, name: str, node: PlainLIF, size: Size) -> Any:
        """Our `u[t] = decay*u[t-1] + x[t]` as NIR's `tau dv/dt = R*I - v` in Euler's steps of dt, with v = (1-decay)*u.

        R stays 1, for simulators differ in what they take it for; hence the threshold is scaled. Without leak it is
        NIR's `dv/dt = R*I` with v = u, and R has to be 1/dt (snnTorch refuses that; its own IF leaks). Decays per
        channel give thresholds per channel, which snnTorch refuses as well.
        """
        if node.soft_reset:
            raise NotInNIR(f"{name} resets by subtraction, NIR's neurons to a value")
        if node.v:
            raise NotInNIR(f"{name} starts at a potential, NIR's neurons at 0")
        full = np.ones(size, dtype=np.float32)
        lost = full * (1 - np.asarray(node.decay, dtype=np.float64))
        if not lost.any():
            return self.nir.IF(r=full / self.dt, v_threshold=full * node.v_threshold)
        if not lost.all():
            raise NotInNIR(f"{name} leaks in some channels and not in others, NIR's neurons all or none")
        tau, v_threshold = self.dt / lost, lost * node.v_threshold
        return self.nir.LIF(
            tau=tau.astype(np.float32), r=full, v_leak=full * 0, v_threshold=v_threshold.astype(np.float32)
        )


def parts(detector: Detector) -> list[tuple[str, nn.Module]]:
    """The backbone's parts in a row: as it names them, or layer by layer."""
    ask = getattr(detector.backbone, "parts", None)
    if ask is not None:
        return [(f"backbone.{name}", part) for name, part in ask()]
    return [
        (f"backbone.{row}.{name}", layer)
        for row, layers in detector.backbone.named_children()
        for name, layer in layers.named_children()
    ]


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


@dataclass(frozen=True)
class Nir:
    """`format=nir`: the backbone, or its largest beginning that NIR can hold.

    NIR has no concatenation, max-pooling, upsampling or transposed convolution, hence neither neck nor head; nor has it
    gates, hence no temporal part.

    Attributes:
        part: `backbone`, or `largest`: as many of its parts, from the stem on, as fit. Where a shortcut is pooled, the
            file ends with the residual path beside it, whose two neurons fire, before the addition.
        dt: seconds per time step: NIR's time is continuous. snnTorch reads files with 1e-4.
    """

    suffix: ClassVar[str] = ".nir"
    needs_frames: ClassVar[bool] = True

    part: str = "backbone"
    dt: float = 1e-4

    def __post_init__(self) -> None:
        if self.part not in ("backbone", "largest"):
            raise ValueError(
                f"format.part is {self.part!r}; expected backbone or largest (NIR can hold neither neck nor head)"
            )
        if not self.dt > 0:
            raise ValueError(f"format.dt is {self.dt}; expected the seconds of a time step, > 0")

    def write(self, detector: Detector, frames: Tensor, path: Path, about: Mapping[str, Any]) -> list[Path]:
        """See `emsyolo.deploy.export.Export`; the layer that does not fit is named, and what fits."""
        size = (frames.shape[2], frames.shape[3], frames.shape[4])
        graph = Graph(size, self.dt)
        sources, size, last, error = lay_beginning(graph, lowered(detector), size)
        if error is not None and (self.part == "backbone" or not last):
            raise ValueError(f"{error}{f'; format.part=largest exports up to {last}' if last else ''}") from error
        graph.add("output", graph.nir.Output(np.array(size)), sources)
        whole = graph.nir.NIRGraph(nodes=graph.nodes, edges=graph.edges)
        with written_whole(path) as temporary:
            graph.nir.write(str(temporary), whole)
        log.info("up to %s; one step is %g s", last, self.dt)
        return [path]

    def run(self, paths: list[Path], detector: Detector, frames: Tensor) -> dict[Path, Candidates]:
        """Nothing: a file without a head finds no boxes."""
        return {}
