"""The neurons whose decays are trained, by hand, against those whose decay is a number, and against differences."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.layer.multistep import MultiStep
from emsyolo.layer.spike_conv import SpikeConv2d
from emsyolo.neuron.ilif import ILIF
from emsyolo.neuron.kernels import reference, trained_operator
from emsyolo.neuron.leak import Leak
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.neuron import Spikes, plain_form
from emsyolo.neuron.pilif import PILIF
from emsyolo.neuron.plif import PLIF
from emsyolo.neuron.state import fresh, put, take
from emsyolo.optimizer.recipe import parameter_groups

PAIRS: dict[str, Any] = {
    "hard": (PLIF, LIF, {"start": 0.3}),
    "soft": (PLIF, LIF, {"soft_reset": True}),
    "narrow": (PLIF, LIF, {"surrogate_width": 0.5, "v_threshold": 0.8}),
    "integer": (PILIF, ILIF, {"levels": 4, "input_scale": 0.5}),
    "integer, 16": (PILIF, ILIF, {"levels": 16, "v_threshold": 0.5}),
}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "one step": lambda x: x[:1],
    "still image": lambda x: x[:1].expand(5, -1, -1, -1, -1),
    "one pixel": lambda x: x[..., :1, :1],
}


def currents(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Multiples of 1/64, on which ties are common and, with decays of eighths, little is rounded."""
    return ((torch.randn(shape, dtype=torch.float64) * 2 + 0.5) * 64).round().div(64).to(dtype)


def test_each_channel_leaks_by_its_own_decay_by_hand() -> None:
    node = PLIF(v_threshold=1.0, backend="torch")
    x = torch.tensor([0.9, 0.4]).view(2, 1, 1).expand(-1, -1, 2).double()
    node(x)
    node.leak.logit.data = torch.tensor([0.5, 0.75], dtype=torch.float64).logit()
    node.reset()
    # 0.9, then 0.45 + 0.4 stays below 1; 0.9, then 0.675 + 0.4 = 1.075 fires
    assert node(x).flatten().tolist() == [0, 0, 0, 1]
    node.reset()
    node(x).sum().backward()
    # both potentials of step 1 lie in the window around 1: 0.9 * d(1 - d)
    assert node.leak.logit.grad.tolist() == pytest.approx([0.9 * 0.25, 0.9 * 0.1875])


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pair", PAIRS)
def test_with_equal_decays_it_is_the_neuron_with_a_number(
    pair: str, layout: str, dtype: torch.dtype, backend: str
) -> None:
    trained, fixed, arguments = PAIRS[pair]
    x, upstream = LAYOUTS[layout](currents(5, 2, 40, 6, 10, dtype=dtype)), None
    found = []
    for node in (trained(decay=0.25, backend=backend, **arguments), fixed(decay=0.25, backend="torch", **arguments)):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        spikes = torch.cat([node(leaf), node(leaf)])  # the second goes on from the first
        upstream = currents(*spikes.shape, dtype=dtype) if upstream is None else upstream
        found.append((spikes, node.v, torch.autograd.grad(spikes, leaf, upstream)[0]))
    half = dtype in (torch.float16, torch.bfloat16)
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    close = {"rtol": 2e-2, "atol": 1.5e-1} if half else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found[0][2], found[1][2], **close)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_compiled_gradient_of_the_decays_is_the_references(pair: str, layout: str) -> None:
    trained, _, arguments = PAIRS[pair]
    x, found = LAYOUTS[layout](currents(5, 2, 40, 6, 10)), []
    upstream = [currents(*x.shape) for _ in range(2)]
    decays = torch.linspace(0.05, 0.95, 40, dtype=torch.float64).logit()
    for backend in ("torch", "numba"):
        node = trained(backend=backend, **arguments)
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        node.leak(leaf)
        node.leak.logit.data = decays.clone()
        first, second = node(leaf), node(leaf)
        to_x, to_decay = torch.autograd.grad([first, second], [leaf, node.leak.logit], upstream)
        found.append((first, second, to_x, to_decay))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
    assert found[0][3].abs().sum() > 0


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("soft_reset", [True, False])
def test_the_references_gradient_is_that_of_the_smooth_neuron(
    monkeypatch: pytest.MonkeyPatch, soft_reset: bool, detach_reset: bool, integer: bool
) -> None:
    """The surrogates as true slopes: a spike is a ramp whose slope is the surrogate's gradient, and its value too.

    Where the reset is not detached, the gradient is compared with differences of that smooth neuron.
    """
    x = (torch.rand(4, 1, 3, 2, 2, dtype=torch.float64) * 0.3 + 0.05).requires_grad_()
    decay = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64).requires_grad_()

    class Ramp:
        @staticmethod
        def apply(u: Tensor, width: float) -> Tensor:
            return u.clamp(0, width) if integer else (u / width + 0.5).clamp(0, 1)

    def run(x: Tensor, decay: Tensor) -> Tensor:
        decay = decay.view(3, 1, 1)
        if integer:
            return reference.ilif_steps(x, None, decay=decay, input_scale=0.7, levels=4)[0]
        arguments = {"v_threshold": 0.5, "surrogate_width": 2.0, "soft_reset": soft_reset, "detach_reset": detach_reset}
        return reference.lif_steps(x, None, decay=decay, **arguments)[0]

    monkeypatch.setattr(reference, "_Whole" if integer else "_Spike", Ramp)
    if not detach_reset and not integer:
        assert torch.autograd.gradcheck(run, (x, decay))
        return
    # A detached reset is a constant of the derivative: what was taken is held while the inputs move.
    taken = [s.detach() for s in run(x, decay)]

    def held(x: Tensor, decay: Tensor) -> Tensor:
        v, out = torch.zeros_like(x[0]), []
        for current, sent in zip(x, taken, strict=True):
            u = decay.view(3, 1, 1) * v + current * (0.7 if integer else 1)
            out.append(Ramp.apply(u, 4) if integer else Ramp.apply(u - 0.5, 2.0))
            v = u - sent if integer else u - 0.5 * sent if soft_reset else u * (1 - sent)
        return torch.stack(out)

    assert torch.autograd.gradcheck(held, (x, decay))
    upstream = torch.randn(4, 1, 3, 2, 2, dtype=torch.float64)
    for mine, other in zip(
        torch.autograd.grad(run(x, decay), (x, decay), upstream),
        torch.autograd.grad(held(x, decay), (x, decay), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("factory", [PLIF, PILIF])
def test_a_packed_convolution_has_the_same_gradients(factory: Any) -> None:
    x = currents(3, 2, 4, 6, 5)
    layers = MultiStep(factory(), SpikeConv2d(4, 6, 3, padding=1).double())
    gradients = []
    for memory in ("plain", "packed"):
        layers[0].reset()
        layers[0].keep(memory)
        layers.zero_grad()
        leaf = x.clone().requires_grad_()
        layers(leaf).square().sum().backward()
        gradients.append([leaf.grad, *(p.grad.clone() for p in layers.parameters())])
    for plain, packed in zip(*gradients, strict=True):
        assert torch.equal(plain, packed)


@pytest.mark.parametrize("factory", [PLIF, PILIF])
def test_the_contract_of_a_neuron(factory: Any) -> None:
    node, x = factory(), torch.rand(4, 2, 3, 5, 6) * 2
    node(x)
    node.leak.logit.data = torch.tensor([-2.0, 0.0, 2.0])
    assert node.spikes == Spikes(16 if factory is PILIF else 1)
    with torch.no_grad():
        with fresh(node):
            whole = node(x)
        plain = plain_form(node)
        with fresh(plain):
            torch.testing.assert_close(plain(x), whole)
        with fresh(node):
            first = node(x[:1])
            state = take(node)
        with fresh(node):
            put(node, state)
            torch.testing.assert_close(torch.cat([first, node(x[1:])]), whole)


@pytest.mark.parametrize(
    ("model", "neuron"),
    [("ems_small", "plif"), ("ems_small_ilif", "pilif"), ("sew_small", "plif"), ("ms_small", "plif")],
)
def test_a_detector_knows_the_channels_from_the_start(model: str, neuron: str) -> None:
    overrides = ["model.width=0.125", f"neuron={neuron}"]
    detector = build_detector(model, 3, 2, overrides)
    leaks = [module for module in detector.modules() if isinstance(module, Leak)]
    assert leaks
    assert all(module.logit.sigmoid().allclose(torch.tensor(0.25)) for module in leaks)
    assert detector.training
    assert int(detector.backbone.stem[1].num_batches_tracked) == 0  # nothing was counted
    again = build_detector(model, 3, 2, [*overrides, "neuron.decay=0.7"])
    again.load_state_dict(detector.state_dict())
    copied = copy.deepcopy(again).eval()
    frames = torch.rand(2, 1, 3, 64, 96)
    for mine, other in zip(copied(frames).maps, detector.eval()(frames).maps, strict=True):
        assert torch.equal(mine, other)
    groups = parameter_groups(detector, 0.1)
    own = {id(module.logit) for module in leaks}
    assert {group["weight_decay"] for group in groups if own & {id(p) for p in group["params"]}} == {0.0}


@pytest.mark.parametrize("memory", ["plain", "packed", "recompute"])
@pytest.mark.parametrize(("model", "neuron"), [("ems_small", "plif"), ("ems_small_ilif", "pilif")])
def test_gradients_do_not_depend_on_what_is_kept(model: str, neuron: str, memory: str) -> None:
    gradients = []
    for kept in ("plain", memory):
        torch.manual_seed(0)
        detector = build_detector(model, 3, 2, ["model.width=0.125", f"neuron={neuron}", f"memory={kept}"])
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1.0)
        sum(level.square().mean() for level in detector(torch.rand(2, 1, 3, 64, 96)).maps).backward()
        gradients.append({name: parameter.grad for name, parameter in detector.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-4, atol=1e-6, msg=name)
    assert any(grad.abs().sum() > 0 for name, grad in gradients[1].items() if name.endswith("leak.logit"))


def test_torch_knows_the_operators() -> None:
    x, decays = torch.randn(5, 2, 3, 4, 4), torch.tensor([0.2, 0.5, 0.8])
    for operator, arguments, constants in (
        (trained_operator.plif, (0.5, 1.0, False), (1.0, 1.0, True, 1)),
        (trained_operator.pilif, (1.0, 4), (1.0, 1.0, False, 4)),
    ):
        _, bits, last, left = operator(x, None, decays, *arguments, True)
        torch.library.opcheck(operator, (x, last, decays, *arguments, False))
        torch.library.opcheck(trained_operator.backward, (x, bits, left, last, decays, *constants))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": 0.0}, r"neuron\.decay is 0\.0; expected .* at the start of training, between 0 and 1"),
        ({"decay": 1.0}, r"neuron\.decay is 1\.0"),
        ({"backend": "cupy"}, r"neuron\.backend is 'cupy'; expected one of auto, torch, numba, which train decays"),
    ],
)
@pytest.mark.parametrize("factory", [PLIF, PILIF])
def test_arguments_outside_their_range_are_refused(factory: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory(**arguments)


def test_other_channels_are_refused() -> None:
    node = PLIF()
    with pytest.raises(ValueError, match=r"currents are \[2, 3\]; expected \[T, N, C, \*\]"):
        node(torch.rand(2, 3))
    node(torch.rand(2, 1, 3, 4))
    node.reset()
    with pytest.raises(ValueError, match=r"currents are \[2, 1, 5, 4\]; expected .* with C = 3, one for each decay"):
        node(torch.rand(2, 1, 5, 4))
