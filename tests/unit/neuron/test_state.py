"""State as a value: all of it, of any layer that remembers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based.neuron import ParametricLIFNode
from torch import nn

from emsyolo.app import build_detector
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.model.detector import Detector
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.memory import set_memory
from emsyolo.neuron.silu import LeakySiLU
from emsyolo.neuron.state import forget, fresh, put, take, unread

LAYERS = {
    "lif": lambda: LIF(v_threshold=0.4),
    "lif from a half": lambda: LIF(v_threshold=0.4, start=0.5),
    "if": lambda: IF(torch.tensor([0.7, 0.5, 0.9]), start=0.5),
    "silu": LeakySiLU,
    "pool": lambda: AccumulatedMaxPool(nn.MaxPool2d(2)),
    "spikingjelly": lambda: ParametricLIFNode(step_mode="m"),
}


def silu_detector(steps: int = 2) -> Detector:
    overrides = ["model.width=0.125", "model.head_activation=silu", "neuron.v_threshold=0.2"]
    return build_detector("ems_resnet10", 3, steps, overrides)


@pytest.mark.parametrize("layer", LAYERS)
def test_two_parts_are_the_whole(layer: str) -> None:
    torch.manual_seed(0)
    network, x = LAYERS[layer](), torch.rand(6, 2, 3, 4, 4)
    with torch.no_grad():
        with fresh(network):
            whole = network(x)
        with fresh(network):
            first = network(x[:2])
            between = take(network)
        with fresh(network):
            network(torch.rand(3, 2, 3, 4, 4))  # what another call leaves does not matter
            put(network, between)
            second = network(x[2:])
    torch.testing.assert_close(torch.cat([first, second]), whole)


@pytest.mark.parametrize("layer", LAYERS)
def test_samples_that_are_not_kept_begin_anew(layer: str) -> None:
    torch.manual_seed(0)
    network, x, then = LAYERS[layer](), torch.rand(3, 2, 3, 4, 4), torch.rand(2, 2, 3, 4, 4)
    with torch.no_grad():
        with fresh(network):
            network(x)
            state = take(network).where(torch.tensor([True, False]))
            kept = network(then)
            put(network, state)
            mixed = network(then)
        with fresh(network):
            anew = network(then)
    torch.testing.assert_close(mixed[:, 0], kept[:, 0])
    torch.testing.assert_close(mixed[:, 1], anew[:, 1])
    with pytest.raises(ValueError, match=r"keep is \(3,\), but .* is \(2, 3"):
        state.where(torch.ones(3, dtype=torch.bool))


def test_a_state_is_of_one_network() -> None:
    state = take(nn.Sequential(LIF()))
    with pytest.raises(ValueError, match="the state has not what 1 remembers"):
        put(nn.Sequential(LIF(), LIF()), state)


def test_forgetting_leaves_a_state_that_was_taken() -> None:
    node = LIF()
    with torch.no_grad():
        node(torch.full((1, 2, 3), 0.1))
    state = take(node)
    forget(node)
    assert node.v == 0
    put(node, state)
    torch.testing.assert_close(node.v, torch.full((2, 3), 0.1))


def test_a_detector_goes_on_from_a_state_and_keeps_none() -> None:
    torch.manual_seed(0)
    detector, frames = silu_detector(4).eval(), torch.rand(4, 2, 3, 64, 96)
    with torch.no_grad():
        whole = detector(frames)
        detector.T = 2
        first, state = detector.run(frames[:2])
        detector(torch.rand(2, 1, 3, 64, 64))
        second, _ = detector.run(frames[2:], state)
    for mine, one, other in zip(whole.maps, first.maps, second.maps, strict=True):
        torch.testing.assert_close((one + other) / 2, mine)
    assert all(not isinstance(v, torch.Tensor) for memory in take(detector).values.values() for v in memory.values())


def in_two_runs(detector: Detector, parts: torch.Tensor) -> list[torch.Tensor]:
    first, state = detector.run(parts[0])
    return [*first.maps, *detector.run(parts[1], state)[0].maps]


def test_gradients_through_two_calls_do_not_depend_on_what_is_kept() -> None:
    torch.manual_seed(0)
    original, parts = silu_detector().train(), torch.rand(2, 2, 1, 3, 64, 96)
    gradients = {}
    for memory in ("plain", "recompute"):
        detector = copy.deepcopy(original)
        set_memory(detector, memory)  # type: ignore[arg-type]
        sum(one.square().mean() for one in in_two_runs(detector, parts)).backward()
        gradients[memory] = {name: p.grad for name, p in detector.named_parameters()}
    for name, expected in gradients["plain"].items():
        torch.testing.assert_close(gradients["recompute"][name], expected, rtol=1e-5, atol=1e-8, msg=name)


def test_a_copy_carries_no_potentials() -> None:
    detector = silu_detector(1).eval()
    with torch.no_grad():
        detector.backbone(torch.rand(1, 1, 3, 64, 64))  # leaves potentials behind
        assert any(isinstance(value, torch.Tensor) for one in take(detector).values.values() for value in one.values())
        copied = copy.deepcopy(detector)
    assert all(not isinstance(value, torch.Tensor) for one in take(copied).values.values() for value in one.values())
    assert any(isinstance(value, torch.Tensor) for one in take(detector).values.values() for value in one.values())


def test_ranges_of_steps_are_read_out_as_their_means() -> None:
    torch.manual_seed(0)
    detector, frames = silu_detector(4).eval(), torch.rand(4, 2, 3, 64, 96)
    ranges = [range(1), range(2), range(1, 3), range(2, 4)]
    with torch.no_grad():
        together, _ = detector.run(frames, read_out=ranges)
        detector.T = 1
        state, steps = None, []
        for t in range(4):
            maps, state = detector.run(frames[t : t + 1], state)
            steps.append(maps)
    assert len(together.maps[0]) == 2 * len(ranges)
    for found, steps_read in zip(together.split(len(ranges)), ranges, strict=True):
        for level, mine in enumerate(found.maps):
            torch.testing.assert_close(mine, torch.stack([steps[t].maps[level] for t in steps_read]).mean(dim=0))


@pytest.mark.parametrize("make", [LIF, lambda: LIF(start=0.5), ILIF], ids=["lif", "from a half", "ilif"])
def test_what_nobody_reads_is_not_written(make: Callable[[], LIF | ILIF]) -> None:
    node, x = make(), torch.rand(3, 2, 4)
    start = node.v
    expected = node(x)
    assert isinstance(node.v, torch.Tensor)
    forget(node)
    with unread(node):
        assert torch.equal(node(x), expected)
        assert node.v == start
    node(x)
    assert isinstance(node.v, torch.Tensor)


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("model", ["ems_resnet10", "ems_small_ilif"])
def test_a_detector_whose_memories_nobody_reads_gives_the_same(model: str, chunk: int | None) -> None:
    torch.manual_seed(0)
    detector = build_detector(model, 3, 3, ["model.width=0.125"]).eval()
    detector.chunk = chunk
    frames, ranges = torch.rand(3, 2, 3, 64, 96), [range(2), range(3)]
    with torch.no_grad():
        expected = detector.run(frames, read_out=ranges)[0]
        found = detector(frames, ranges)
    for mine, other in zip(found.maps, expected.maps, strict=True):
        assert torch.equal(mine, other)
    assert all(module.remembers for module in detector.modules() if hasattr(module, "remembers"))


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_steps_in_chunks_are_the_same(chunk: int) -> None:
    torch.manual_seed(0)
    detector, frames = silu_detector(4).eval(), torch.rand(4, 1, 3, 64, 64)
    ranges = [range(2), range(1, 3), range(4)]
    with torch.no_grad():
        whole, after = detector.run(frames, read_out=ranges)
        detector.chunk = chunk
        parts, also = detector.run(frames, read_out=ranges)
    for mine, other in zip(parts.maps, whole.maps, strict=True):
        torch.testing.assert_close(mine, other)
    for module, memories in after.values.items():
        for name, value in memories.items():
            torch.testing.assert_close(also.values[module][name], value)


@pytest.mark.parametrize(
    "ranges", [[], [range(3)], [range(2), range(1)], [range(1, 1)], [range(-1, 1)], [range(0, 2, 2)]]
)
def test_ranges_outside_the_steps_are_refused(ranges: list[range]) -> None:
    with pytest.raises(ValueError, match=r"read_out is .*; expected ranges within the 2 steps, their ends in order"):
        silu_detector().run(torch.rand(1, 1, 3, 64, 64), read_out=ranges)
