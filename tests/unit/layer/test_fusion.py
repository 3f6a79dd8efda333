"""A normalisation that the neuron behind it does: the same as one after the other, and only where nobody notices."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from emsyolo.app import build_detector
from emsyolo.layer.from_spikes import FromSpikes
from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.rep import BNPad
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.layer.tdbn import TdBN
from emsyolo.model import block
from emsyolo.model.spike_block import ConvolutionBlock
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.kernels import norm_operator
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.memory import Memory, set_memory
from emsyolo.neuron.pilif import PILIF
from emsyolo.neuron.plif import PLIF
from emsyolo.neuron.state import forget

NEURONS: dict[str, Callable[[], Any]] = {
    "lif": LIF,
    "soft, from a half": lambda: LIF(soft_reset=True, start=0.5),
    "ilif": lambda: ILIF(4),
}


def layers(neuron: Callable[[], Any]) -> MultiStep:
    """A neuron between convolutions, behind a normalisation whose numbers are not those of its start."""
    made = MultiStep(
        neuron(),
        SpikeConv2d(3, 8, 3, padding=1, bias=False),
        TdBN(8, 0.5),
        neuron(),
        SpikeConv2d(8, 4, 1, bias=False),
    )
    norm = made[2]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.bias)
    return made


def apart(network: nn.Module) -> nn.Module:
    """A copy whose neurons take no normalisation."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if hasattr(module, "normalises"):
            module.normalises = lambda x: False
    return copied


def answer(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What it gives, its gradients and its statistics."""
    leaf = x.clone().requires_grad_()
    found = network(leaf)
    found.float().square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return {"output": found.detach(), "x": leaf.grad, **gradients, **dict(network.named_buffers())}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators that normalise and integrate, as they are called."""
    found: list[str] = []
    for name in ("run_norm_lif", "run_norm_ilif"):
        run = getattr(norm_operator, name)
        monkeypatch.setattr(norm_operator, name, lambda *a, _run=run, _name=name: found.append(_name) or _run(*a))
    return found


@pytest.mark.parametrize("memory", ["plain", "packed"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("name", NEURONS)
def test_it_is_what_they_are_one_after_the_other(
    calls: list[str], name: str, last: bool, training: bool, memory: Memory
) -> None:
    torch.manual_seed(0)
    fused = layers(NEURONS[name]).train(training)
    set_memory(fused, memory)
    other, double, x = apart(fused), copy.deepcopy(fused).double(), torch.randn(4, 2, 3, 6, 10)
    if last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    found = answer(fused, x)
    assert len(calls) == 1
    exact = answer(apart(double), x.double())  # torch's own sums in float32 lose digits
    assert torch.equal(found.pop("output"), other(x))
    assert len(calls) == 1
    assert found.keys() == exact.keys() - {"output"}
    for key, one in found.items():
        wanted = exact[key].to(one.dtype)
        torch.testing.assert_close(one, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item(), msg=key)


def test_in_half_precision_it_is_rounded_as_memory_would(calls: list[str]) -> None:
    torch.manual_seed(0)
    fused = layers(LIF)
    other, x = apart(fused), torch.randn(4, 2, 3, 6, 10)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = answer(fused, x), answer(other, x)
    assert len(calls) == 1
    differ = (found["output"] != expected["output"]).float().mean()
    assert differ < 0.01  # sums of float32 are not rounded alike before they are rounded to bfloat16
    torch.testing.assert_close(found["1.weight"], expected["1.weight"], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("memory", ["plain", "packed", "recompute"])
@pytest.mark.parametrize("model", ["ems_resnet10", "sew_small", "ems_small_ilif", "spike_yolo_n"])
def test_a_detector_has_the_same_gradients(calls: list[str], model: str, memory: Memory) -> None:
    torch.manual_seed(0)
    fused = build_detector(model, 3, 2, ["model.width=0.125"]).double()
    set_memory(fused, memory)
    other, frames, results = apart(fused), torch.rand(1, 2, 3, 64, 64), []
    for network in (fused, other):
        maps = network(frames.double()).maps
        torch.stack([level.square().sum() for level in maps]).sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        results.append({**gradients, **dict(network.named_buffers())})
        assert calls
    for name, one in results[0].items():
        if one is not None:
            torch.testing.assert_close(one, results[1][name], rtol=1e-7, atol=1e-9, msg=name)


def test_rows_in_a_row_are_one(calls: list[str]) -> None:
    """A normalisation at the end of a row, or of layers that keep bits, is left to the next neuron, unless watched."""
    torch.manual_seed(0)
    cheap = FromSpikes(nn.Conv2d(8, 8, 1), TdBN(8, 1.0))
    network = MultiStep(MultiStep(LIF(), nn.Conv2d(3, 8, 1), TdBN(8, 0.5)), MultiStep(LIF(), cheap), LIF())
    x = torch.randn(4, 2, 3, 6, 10)
    other = apart(network)
    expected = other[2](other[1](other[0](x)))
    assert not calls
    assert torch.equal(network(x), expected)
    assert len(calls) == 2
    for row, left in ((network[0], 1), (network[1], 0)):
        calls.clear()
        forget(network)
        handle = row.register_forward_hook(lambda module, args, output: output * 1)
        assert torch.equal(network(x), expected)
        handle.remove()
        assert len(calls) == left


@pytest.mark.parametrize(("memory", "number"), [("plain", 4), ("packed", 1)])
def test_layers_that_are_computed_anew_keep_their_normalisation(calls: list[str], memory: Memory, number: int) -> None:
    network = ConvolutionBlock(4, 2, lambda: ILIF(4))
    set_memory(network, memory)
    network(torch.randn(1, 2, 4, 6, 10, requires_grad=True))
    assert len(calls) == number
    calls.clear()
    forget(network)
    with torch.no_grad():
        network(torch.randn(1, 2, 4, 6, 10))
    assert len(calls) == 4


# Blocks in a row, and how many of their normalisations are left to a neuron: within a block, and across the sums that
# begin and end between two neurons.
ROWS: dict[str, tuple[Callable[[], list[nn.Module]], int]] = {
    "identities": (lambda: [block.EMSBlock1(4, **MORE), block.EMSBlock1(4, **MORE)], 3),
    "projection, then identity": (lambda: [block.EMSBlock2(4, 8, stride=2, **MORE), block.EMSBlock1(8, **MORE)], 3),
    "concatenation": (lambda: [block.EMSBlock2Cat(4, 8, stride=2, **MORE), block.EMSBlock1(8, **MORE)], 3),
    "membrane values": (lambda: [block.MSBlock(4, 8, stride=2, **MORE), block.MSBlock(8, 8, stride=1, **MORE)], 3),
    "spikes": (lambda: [block.SEWBlock(4, 8, stride=2, **MORE), block.SEWBlock(8, 8, stride=1, **MORE)], 5),
    "a stem": (lambda: [MultiStep(nn.Conv2d(4, 8, 1), TdBN(8, 0.5)), block.EMSBlock1(8, **MORE)], 2),
    "a neuron at the end": (lambda: [block.EMSBlock1(4, **MORE), LIF()], 2),
    "two sums of a block": (lambda: [ConvolutionBlock(4, 2, lambda: ILIF(4)), block.EMSBlock1(4, **MORE)], 6),
}
MORE: dict[str, Any] = {"kernel": 3, "inner": None, "neuron": LIF}


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ROWS)
def test_sums_of_blocks_are_left_to_neurons(calls: list[str], name: str, training: bool, last: bool) -> None:
    torch.manual_seed(0)
    blocks, count = ROWS[name][0](), ROWS[name][1]
    network = MultiStep(*blocks).double().train(training)
    for module in network.modules():
        if isinstance(module, TdBN):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    other, x = apart(network), torch.randn(4, 2, 4, 6, 8, dtype=torch.float64)
    if last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    found = answer(network, x)
    assert len(calls) == count
    wanted = answer(other, x)
    assert len(calls) == count
    assert found.keys() == wanted.keys()
    for key, one in found.items():
        torch.testing.assert_close(one, wanted[key], rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize("place", ["0", "1", "0.residual", "1.residual", "1.residual.0", "0.residual.5"])
def test_a_sum_that_is_watched_is_done_apart(calls: list[str], place: str) -> None:
    network, x = MultiStep(*ROWS["identities"][0]()), torch.randn(2, 1, 4, 6, 8)
    expected = apart(network)(x)
    handle = network.get_submodule(place).register_forward_hook(lambda module, args, output: output * 1)
    torch.testing.assert_close(network(x), expected)
    handle.remove()
    assert len(calls) == 2


def test_a_shortcut_of_another_dtype_is_added_by_torch(calls: list[str]) -> None:
    """The sum of bfloat16 and float32 is float32, which a neuron that adds it would round."""
    network, x = MultiStep(*ROWS["identities"][0]()), torch.randn(2, 1, 4, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
        assert found.dtype == apart(network)(x).dtype == torch.float32
    assert len(calls) == 2


def test_a_shortcut_alone_needs_a_gradient(calls: list[str]) -> None:
    network, x = MultiStep(*ROWS["identities"][0]()).requires_grad_(requires_grad=False), torch.randn(2, 1, 4, 6, 8)
    found, wanted = (answer(one, x)["x"] for one in (network, apart(network)))
    assert len(calls) == 3
    torch.testing.assert_close(found, wanted)


def test_what_is_watched_is_done_apart(calls: list[str]) -> None:
    x = torch.randn(2, 1, 3, 4, 6)
    for place in (2, 3):
        network = layers(LIF)
        handle = network[place].register_forward_hook(lambda module, args, output: output * 2)
        network(x)
        assert not calls
        handle.remove()


def test_operations_that_are_counted_are_torchs(calls: list[str]) -> None:
    network, x = layers(LIF).eval(), torch.rand(2, 1, 3, 4, 6)
    with FlopCounterMode(display=False):
        network(x)
    assert not calls
    forget(network)
    network(x)
    assert calls


@pytest.mark.parametrize("neuron", [PLIF, PILIF, lambda: LIF(backend="torch"), lambda: LIF(backend="spikingjelly")])
def test_neurons_that_cannot_are_left_alone(calls: list[str], neuron: Callable[[], Any]) -> None:
    layers(neuron)(torch.randn(2, 1, 3, 4, 6))
    assert not calls


def test_more_than_a_normalisation_is_not_left_to_a_neuron() -> None:
    assert BNPad(3).normalisation(torch.rand(2, 3, 4, 6)) is None


def test_a_single_number_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        MultiStep(TdBN(3, 0.5), LIF())(torch.rand(1, 1, 3, 1, 1))


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torch_knows_the_operators(dtype: torch.dtype, batch: bool) -> None:
    x = torch.randn(5, 2, 3, 4, 6).to(dtype).requires_grad_()
    mean, var, weight, bias = torch.randn(4, 3).abs()
    norm = (mean, var, weight.requires_grad_(), bias.requires_grad_(), 1e-5, batch)
    add = torch.randn_like(x).requires_grad_()
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    for operator, constants in (
        (norm_operator.norm_lif, (None, None, 0.25, 0.5, 1.0, False, True, True, False)),
        (norm_operator.norm_lif, (add, None, 0.25, 0.5, 1.0, True, True, False, True)),
        (norm_operator.norm_ilif, (add, torch.rand(2, 3, 4, 6), 0.25, 1.0, 4, True, False, True)),
    ):
        torch.library.opcheck(operator, (x, *norm, *constants), test_utils=tests)


def test_what_needs_a_gradient_needs_its_bits() -> None:
    mean, var, weight, bias = torch.rand(4, 3)
    norm = (mean, var, weight.requires_grad_(), bias, 1e-5, False)
    with pytest.raises(ValueError, match="expected keep=True"):
        norm_operator.norm_ilif(torch.rand(2, 1, 3, 4), *norm, None, None, 0.25, 1.0, 4, False, True, False)
