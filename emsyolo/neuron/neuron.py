"""What a network, and whoever measures or exports it, asks of a neuron or an activation, be it ours or another's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from emsyolo.neuron.packed import Packed


@dataclass(frozen=True)
class Spikes:
    """The alphabet of what a neuron sends: the whole numbers from 0, or if signed from -levels, to levels.

    Attributes:
        levels: the largest spike, >= 1: 1 of binary neurons, D of integer-valued ones. A 3 counts as 3 spikes.
        signed: negative spikes are sent as well.
    """

    levels: int = 1
    signed: bool = False


class Neuron(Protocol):
    """A neuron or an activation.

    One that keeps something else for the backward pass by the setting `memory` has a method `keep` as well (see
    `neuron.memory`), and one that keeps its spikes as bits `take_bits` (see `packed_spikes`). One that can save itself
    writing potentials that nobody reads has an attribute `remembers` (see `neuron.state.unread`). One that can take
    maps before their normalisation has `normalises(x)`, which tells whether it can take these, and keywords: `norm`, a
    `Normalisation`; `add`, maps that are added to what it makes of them; `total`, with which it gives the spikes and
    the currents, that sum.

    Attributes:
        v_threshold: where the weights of normalisations before it start; 1 for an activation.
        spikes: what it sends, declared; None: numbers.
    """

    v_threshold: float
    spikes: Spikes | None

    def plain(self) -> nn.Module:
        """The same in operators that every exporter knows, with its memories registered as SpikingJelly's are."""


NeuronFactory = Callable[[], Any]  # makes a `Neuron`


def spikes_of(module: nn.Module) -> Spikes | None:
    """What a module declares that it sends; None: numbers, or nothing declared.

    SpikingJelly's own neurons declare it by their surrogate: `max_spike_count` of an integer-valued one, else 0 and 1.
    """
    if hasattr(module, "spikes"):
        return cast(Neuron, module).spikes
    if not isinstance(module, BaseNode) or not getattr(module.surrogate_function, "spiking", True):
        return None
    return Spikes(int(getattr(module.surrogate_function, "max_spike_count", 1)))


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is a neuron or an activation that says so."""
    return hasattr(module, "spikes") or isinstance(module, BaseNode)


def plain_form(module: nn.Module) -> nn.Module:
    """A neuron in plain operators: as it gives it itself, or one of SpikingJelly's with the back-end of torch."""
    if hasattr(module, "plain"):
        return cast(Neuron, module).plain()
    copied = copy.deepcopy(module)
    if isinstance(copied, BaseNode):
        copied.backend = "torch"
    return copied


class Waiting(Protocol):
    """A neuron that fires when all steps are in, which must come in one call (`at_once`)."""

    at_once: bool

    def step_weights(self, steps: int) -> Tensor:
        """What a spike of each step stands for, `[T]`."""

    def wait(self, steps: int) -> int:
        """How many steps it waits before it fires, of T."""


def waits_for_all(network: nn.Module) -> Waiting | None:
    """The first neuron of a network that waits for all steps; None: there is none."""
    return next((cast(Waiting, module) for module in network.modules() if getattr(module, "at_once", False)), None)


def packed_spikes(module: nn.Module) -> Packed | None:
    """The last spikes as bits, once, of a neuron that packs them; else None."""
    take_bits = getattr(module, "take_bits", None)
    return None if take_bits is None else take_bits()


def rectifying(neuron: NeuronFactory, slope: float) -> Any:
    """A neuron in the place of a leaky ReLU of a slope (0: of a ReLU), which it is told where it takes a `slope`."""
    return cast(Any, neuron)(slope=slope) if "slope" in inspect.signature(neuron).parameters else neuron()


def check_neuron(neuron: NeuronFactory) -> None:
    """Refuse what no network can be built with.

    Raises:
        ValueError: no module, or one without a threshold above 0.
    """
    made = neuron()
    threshold = getattr(made, "v_threshold", None)
    if not isinstance(made, nn.Module) or not isinstance(threshold, int | float) or not threshold > 0:
        raise ValueError(
            f"neuron makes a {type(made).__name__} whose v_threshold is {threshold}; expected a neuron or activation "
            "with a number > 0: one of emsyolo.neuron, or of spikingjelly.activation_based.neuron"
        )
