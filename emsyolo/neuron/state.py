"""What a network remembers between two calls, as a value: potentials, and whatever else its layers keep.

SpikingJelly's `MemoryModule` registers it under any name (`v` of a neuron, `y` of the leaky SiLU, `total` and `largest`
of a pooling in time); all of it is taken, of any module that registers some.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from spikingjelly.activation_based.base import MemoryModule
from torch import Tensor, nn

Memories = dict[str, dict[str, Any]]  # by the module's name, then by the memory's


@dataclass(frozen=True)
class State:
    """The memories of a network at one time.

    Attributes:
        values: by module and name; a tensor `[N, *]`, or a number (None is 0) where nothing has come yet.
        start: what each is before the first step.
    """

    values: Mapping[str, Mapping[str, Any]]
    start: Mapping[str, Mapping[str, Any]]

    def where(self, keep: Tensor) -> State:
        """The state in which samples that are not kept are at their start.

        Args:
            keep: `[N]` bool.

        Raises:
            ValueError: a memory of another number of samples.
        """

        def chosen(module: str, name: str, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if keep.shape != value.shape[:1]:
                raise ValueError(f"keep is {tuple(keep.shape)}, but {module}.{name} is {tuple(value.shape)}: N differs")
            start = self.start[module][name]
            mask = keep.to(value.device).view(-1, *(1,) * (value.ndim - 1))
            return torch.where(mask, value, torch.zeros_like(value) + (0 if start is None else start))

        return self._changed(chosen)

    def detach(self) -> State:
        """The state without the graph that led to it."""
        return self._changed(lambda _module, _name, value: value.detach() if isinstance(value, Tensor) else value)

    def to(self, device: torch.device) -> State:
        """The state on a device."""
        return self._changed(lambda _module, _name, value: value.to(device) if isinstance(value, Tensor) else value)

    @classmethod
    def joined(cls, parts: Sequence[tuple[State, Tensor]], count: int) -> State:
        """One state of `count` samples from states of some of them; the others are at their start.

        Args:
            parts: states, each with the places of its samples, int64.
            count: N of the whole.
        """
        values: Memories = {}
        for module, memories in parts[0][0].values.items():
            values[module] = {}
            for name in memories:
                start = parts[0][0].start[module][name]
                values[module][name] = _placed([(s.values[module][name], at) for s, at in parts], start, count)
        return cls(values, parts[0][0].start)

    def _changed(self, change: Any) -> State:
        values = {
            module: {name: change(module, name, value) for name, value in memories.items()}
            for module, memories in self.values.items()
        }
        return replace(self, values=values)


def _placed(parts: Sequence[tuple[Any, Tensor]], start: Any, count: int) -> Any:
    """One memory of a joined state."""
    tensors = [value for value, _ in parts if isinstance(value, Tensor)]
    if not tensors:
        return parts[0][0]
    whole = tensors[0].new_full((count, *tensors[0].shape[1:]), 0 if start is None else start)
    for value, places in parts:
        if isinstance(value, Tensor):
            whole[places] = value
    return whole


def take(network: nn.Module) -> State:
    """The state of a network; no copy, because its layers replace their memories and do not change them."""
    values: Memories = {}
    start: Memories = {}
    for module, memory in _memories(network):
        values[module] = dict(memory._memories)
        start[module] = dict(memory._memories_rv)
    return State(values, start)


def put(network: nn.Module, state: State) -> None:
    """Let a network go on from a state.

    Raises:
        ValueError: a state of another network; names the module.
    """
    for module, memory in _memories(network):
        values = state.values.get(module)
        if values is None or values.keys() != memory._memories.keys():
            raise ValueError(f"the state has not what {module or 'the network'} remembers: it is another network's")
        for name, value in values.items():
            setattr(memory, name, value)


def forget(network: nn.Module) -> None:
    """Bring all memories to their start, as before the first step.

    New values: SpikingJelly's `reset` overwrites those that a state may hold.
    """
    for _, memory in _memories(network):
        for name, value in memory._memories_rv.items():
            setattr(memory, name, copy.deepcopy(value))


@contextmanager
def fresh(network: nn.Module) -> Iterator[None]:
    """Within, a network remembers nothing yet; afterwards it remembers what it did before."""
    before = take(network)
    forget(network)
    try:
        yield
    finally:
        put(network, before)


@contextmanager
def unread(network: nn.Module) -> Iterator[None]:
    """Within, every neuron is called once, and nobody reads what it remembers: its potentials need not be written.

    It is said to neurons that have an attribute `remembers`; they are then at their start after a call.
    """
    told: list[Any] = [module for module in network.modules() if getattr(module, "remembers", False)]
    for neuron in told:
        neuron.remembers = False
    try:
        yield
    finally:
        for neuron in told:
            neuron.remembers = True


def _memories(network: nn.Module) -> Iterator[tuple[str, MemoryModule]]:
    for name, module in network.named_modules():
        if isinstance(module, MemoryModule):
            yield name, module
