"""Operators past torch's dispatcher: the same, and seen where somebody watches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from emsyolo.neuron.kernels import norm_operator, operator
from emsyolo.neuron.kernels.direct import Direct

CONSTANTS = (0.25, 0.5, 1.0, False)
NORM = (torch.zeros(3), torch.ones(3), torch.ones(3), torch.zeros(3), 1e-5, False)
CALLS: dict[str, tuple[Any, Direct, tuple[Any, ...]]] = {
    "lif": (operator.lif, operator.run_lif, (None, *CONSTANTS, True, None, True)),
    "ilif": (operator.ilif, operator.run_ilif, (None, 0.25, 1.0, 4, True, None, True)),
    "norm_lif": (norm_operator.norm_lif, norm_operator.run_norm_lif, (*NORM, None, None, *CONSTANTS, True, True, True)),
    "norm_ilif": (
        norm_operator.norm_ilif,
        norm_operator.run_norm_ilif,
        (*NORM, None, None, 0.25, 1.0, 4, True, True, True),
    ),
}


class Seen(TorchDispatchMode):
    """The names of the operations that pass by."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def currents() -> Tensor:
    return torch.randn(5, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("name", CALLS)
def test_it_gives_what_the_operator_gives(name: str) -> None:
    op, direct, more = CALLS[name]
    results = []
    for call in (op, direct):
        x = currents()
        spikes, *others = call(x, *more)
        (gradient,) = torch.autograd.grad(spikes.square().sum(), x)
        with torch.no_grad():
            results.append([spikes, *others, gradient, *call(x, *more)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("way", ["operator", "direct"])
@pytest.mark.parametrize("name", CALLS)
def test_gradients_that_nobody_reads_are_not_made_up(name: str, way: str) -> None:
    op, direct, more = CALLS[name]
    x = currents()
    spikes = (op if way == "operator" else direct)(x, *more)[0]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        torch.autograd.grad(spikes, x, torch.ones_like(spikes))
    names = {event.name for event in seen.events()}
    assert "aten::empty_strided" in names
    assert "aten::zeros" not in names


@pytest.mark.parametrize("name", CALLS)
def test_a_mode_that_follows_operations_sees_it(name: str) -> None:
    _, direct, more = CALLS[name]
    with Seen() as seen:
        direct(currents(), *more)
    assert f"emsyolo.{name}.default" in seen.names


def test_torch_compile_sees_it() -> None:
    _, direct, more = CALLS["lif"]
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    compiled = torch.compile(lambda x: direct(x, *more)[0], backend=backend, fullgraph=True)
    x = currents()
    assert torch.equal(compiled(x), direct(x, *more)[0])
    assert "emsyolo.lif.default" in seen


def test_a_gradient_needs_what_it_is_computed_from() -> None:
    with pytest.raises(ValueError, match="emsyolo::lif: the currents need a gradient; expected keep=True"):
        operator.run_lif(currents(), None, *CONSTANTS, False, None, True)
