"""A module traced by torch.fx, its normalisation folded, and a place of its own for every call of an activation."""

from __future__ import annotations

import copy
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from emsyolo.convert.fold import fold_calls
from emsyolo.convert.in_time import InTime, Site
from emsyolo.convert.operations import CLIPPED, KNOWN, NOTHING, Unknown, asks_shape, called, layer_of, refuse_unknown
from emsyolo.text import shortlist

ROOT = "module"  # of which the traced module is the child
EXPECTED = (
    "convolutions, linear layers, batch normalisation with running statistics, ReLU, leaky ReLU, ReLU6 (a Hardtanh "
    "from 0), sums, concatenation, products with constants, max- and average pooling, up-sampling, reshaping"
)


@dataclass(frozen=True)
class Traced:
    """A module as a graph.

    Attributes:
        network: images `[N, *]` to the tuple of the module's outputs, in evaluation mode.
        structure: what those are put together to.
        moving: which of them depend on the images' values.
        sites: the activations, by the name of the module that is called, or in whose forward a function is; every call
            is one of its own: `relu`, `relu_2`.
        pools: max-pooling.
        in_a_row: activations that a value passes on its way, at most.
    """

    network: fx.GraphModule
    structure: pytree.TreeSpec
    moving: list[bool]
    sites: dict[str, Site]
    pools: list[InTime]
    in_a_row: int

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Those outputs that depend on the images' values."""
        return [value for value, moves in zip(self.network(images), self.moving, strict=True) if moves]


class _Flat(nn.Module):
    """A module, its outputs as a tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.add_module(ROOT, module)
        self.structure: pytree.TreeSpec | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        leaves, self.structure = pytree.tree_flatten(self.get_submodule(ROOT)(x))
        return tuple(leaves)


class _Tracer(fx.Tracer):
    """Sees torch's layers, and those that compute as one of them, as single operations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        by_name = super().is_leaf_module(m, module_qualified_name)
        return by_name or any(isinstance(m, kind) and type(m).forward is kind.forward for kind in KNOWN)


def trace(module: nn.Module) -> Traced:
    """The graph of a copy of a module, in evaluation mode, its normalisation folded.

    Raises:
        ValueError: its forward cannot be traced, which says where, or calls what cannot be converted, all of it named.
    """
    flat = _Flat(copy.deepcopy(module).eval())
    try:
        graph = _Tracer().trace(flat)
    except Exception as error:  # whatever its forward runs into when it is given no values
        raise ValueError(
            f"cannot trace {type(module).__name__}: {error} ({_place(error)}); expected a forward that runs the same "
            "operations whatever the values of its images are: convert the part from images to maps, without resizing, "
            "anchors or NMS"
        ) from error
    assert flat.structure is not None
    network = fx.GraphModule(flat, graph)
    live, sites, pools, in_a_row = _layers_apart(network)
    fold_calls(network)
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()
    leaves = network.graph.output_node().args[0]
    assert isinstance(leaves, tuple)
    moving = [leaf in live for leaf in leaves]
    return Traced(network, flat.structure, moving, sites, pools, in_a_row)


def _layers_apart(network: fx.GraphModule) -> tuple[set[fx.Node], dict[str, Site], list[InTime], int]:
    """Give every activation and max-pooling a layer of its own, and refuse what cannot be converted.

    Returns:
        The nodes that are maps, the activations, the pooling, the largest number of activations in a row.
    """
    modules = dict(network.named_modules())
    depth: dict[fx.Node, int] = {}  # of the nodes that are maps, in activations
    done: set[fx.Node] = set()
    sites: dict[str, Site] = {}
    pools: list[InTime] = []
    unknown: dict[str, dict[str, None]] = {}  # names by kind, once each
    given: set[str] = set()
    for node in list(network.graph.nodes):
        module = modules[str(node.target)] if node.op == "call_module" else None
        if isinstance(module, NOTHING):
            node.replace_all_uses_with(node.all_input_nodes[0])
            network.graph.erase_node(node)
            continue
        done.add(node)
        read: list[fx.Node] = []
        fx.node.map_arg((node.args, node.kwargs), read.append)
        inputs = [one for one in read if one in depth]
        if node.op == "placeholder":
            depth[node] = 0
        if node.op == "output" or not inputs or asks_shape(node):
            continue
        depth[node] = max(depth[one] for one in inputs)
        try:
            layer = layer_of(node, module)
            if layer is None:
                refuse_unknown(node, module, inputs)
                continue
        except Unknown as error:
            unknown.setdefault(str(error), {})[_owner(node) or "forward"] = None
            continue
        name = _free_name(network, node, given)
        place = Site(layer) if isinstance(layer, CLIPPED) else InTime(layer)
        new = _replace(network, node, f"{ROOT}.{name}", place, done)
        done.add(new)
        depth[new] = depth[node] + isinstance(place, Site)
        if isinstance(place, Site):
            sites[name] = place
        else:
            pools.append(place)
    if unknown:
        named = ", ".join(f"{kind} ({shortlist(names)})" for kind, names in unknown.items())
        raise ValueError(f"cannot convert {named}; expected {EXPECTED}")
    if not sites:
        raise ValueError("the module has no ReLU, leaky ReLU, ReLU6 or quantised activation; expected one at least")
    ends = network.graph.output_node().all_input_nodes
    return set(depth), sites, pools, max((depth.get(end, 0) for end in ends), default=0)


def _replace(network: fx.GraphModule, node: fx.Node, name: str, place: InTime, done: set[fx.Node]) -> fx.Node:
    """Call a layer instead; what was computed in place is seen by all who read the input afterwards."""
    source = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(source, fx.Node)
    network.add_submodule(name, place)
    with network.graph.inserting_before(node):
        new = network.graph.call_module(name, (source,))
    new.meta = dict(node.meta)
    if getattr(place.layer, "inplace", False):
        place.layer.inplace = False
        for reader in list(source.users):
            if reader not in done and reader is not new:
                reader.replace_input_with(source, new)
    node.replace_all_uses_with(new)
    network.graph.erase_node(node)
    return new


def _owner(node: fx.Node) -> str:
    """The name of the module that a node calls, or in whose forward it is; empty: the traced module itself."""
    if node.op == "call_module":
        return str(node.target).removeprefix(f"{ROOT}.")
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]).removeprefix(ROOT).removeprefix(".") if stack else ""


def _free_name(network: fx.GraphModule, node: fx.Node, given: set[str]) -> str:
    """A name for the layer of a call: that of the module; of a function, where it is called; numbered from 2."""
    of_module = node.op == "call_module"
    own = _owner(node) if of_module else f"{_owner(node)}.{called(node).strip('_')}".lstrip(".")
    name, number = own, 1
    while name in given or (not (of_module and number == 1) and _is_there(network, name)):
        number += 1
        name = f"{own}_{number}"
    given.add(name)
    return name


def _is_there(network: fx.GraphModule, name: str) -> bool:
    place: object = network.get_submodule(ROOT)
    for part in name.split("."):
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True


def _place(error: Exception) -> str:
    """The line of a forward, outside of torch, where tracing it failed."""
    torch_folder = Path(torch.__file__).parent
    frames = [
        one for one in traceback.extract_tb(error.__traceback__) if torch_folder not in Path(one.filename).parents
    ]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"
