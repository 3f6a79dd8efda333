"""The path from a conventional network to a spiking one: the papers' examples, laws and refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from emsyolo.app import build_detector
from emsyolo.convert import calibrate as calibration
from emsyolo.convert.calibrate import by_percentile, calibrate, least_squares
from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.error import layer_errors, parts
from emsyolo.convert.fold import fold_normalisation
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.layer.multistep import MultiStep
from emsyolo.model.detector import Detector
from emsyolo.neuron.integrate import IF, Rule
from emsyolo.neuron.quantised import Quantised, quantised
from emsyolo.neuron.state import forget
from emsyolo.types import HeadMaps

MODELS = ["spiking_yolov3", "spiking_yolov3_fc", "spiking_yolo", "ann_small", "ann_small by concatenation"]
TYPED = {
    "ann_small by concatenation": ["model.block._target_=emsyolo.model.block.ems_cat"],
    "spiking_yolo": ["model.anchors=[[[10,14],[23,27],[37,58],[81,82],[135,169]]]"],
}


def node(rule: Rule = "plain", start: float = 0.0, scale: float = 1.0) -> IF:
    return IF(torch.tensor([scale]), start, rule)


def drive(neuron: IF, currents: list[float]) -> list[float]:
    """The spikes of one neuron for one current per step."""
    forget(neuron)
    return neuron(torch.tensor(currents).view(-1, 1, 1, 1, 1)).flatten().tolist()


def trained_like(model: str, seed: int = 0) -> Detector:
    """A detector with running statistics, weights and biases that are not those of the start."""
    torch.manual_seed(seed)
    detector = build_detector(model.split(" ")[0], 3, 1, TYPED.get(model, ())).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 0.6)
            module.weight.data.uniform_(0.6, 1.4)
            module.bias.data.normal_(0, 0.3)
    return detector


def frames(seed: int = 1) -> Tensor:
    return torch.rand(1, 2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("first", "second", "rate"),
    [((1, 3, 5), (2, 4, 6), 0.5), ((1, 2, 3), (4, 5, 6), 4 / 6), ((4, 5, 6), (1, 2, 3), 2 / 6)],
)
def test_example_of_the_paper(first: tuple[int, ...], second: tuple[int, ...], rate: float) -> None:
    # Ming and Li, 2024, Fig. 6: W = [2, -1], both inputs 0.5, threshold 1, T = 6.
    currents = [2.0 * (t in first) - 1.0 * (t in second) for t in range(1, 7)]
    assert sum(drive(node(), currents)) / 6 == pytest.approx(rate)


def test_threshold_is_in_the_units_of_the_current() -> None:
    assert drive(node(scale=2.0), [1.0, 1.0, 1.5, 0.5]) == [0, 1, 0, 1]


def test_signed_neuron_takes_back_what_came_too_early() -> None:
    # Half of the input on average is 0, but it comes first: a plain neuron cannot unsay its spikes.
    currents = [1.0, 1.0, -1.0, -1.0, 0.0, 0.0]
    assert sum(drive(node("plain"), currents)) == 2
    assert drive(node("signed"), currents) == [1, 1, -1, -1, 0, 0]
    assert drive(node("signed"), [-1.0, -1.0, 1.0]) == [0, 0, 0]  # nothing to take back


def test_delayed_neuron_does_not_see_the_order() -> None:
    for currents in ([1.0, 1.0, 1.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0, 1.0, 1.0]):
        spikes = drive(node("delayed"), currents)
        assert sum(spikes) == 2
        assert set(spikes) == {0, 1}


def test_imbalanced_neuron_is_leaky_relu_in_the_mean() -> None:
    for z in (-0.8, -0.3, 0.2, 0.7):
        spikes = drive(node("imbalanced"), [z] * 2000)
        assert sum(spikes) / 2000 == pytest.approx(z if z > 0 else 0.1 * z, abs=2e-3)


def test_quantised_activation_by_hand() -> None:
    z = torch.tensor([-1.0, 0.2, 0.25, 0.6, 1.9, 2.4], dtype=torch.float64)
    scale = torch.tensor(2.0, dtype=torch.float64)
    # L = 4: steps of 0.5, each begins half a step below.
    assert quantised(z, scale, 4).tolist() == [0, 0, 0.5, 0.5, 2, 2]


def test_gradients_of_the_quantised_activation() -> None:
    z = torch.linspace(-1, 3, 101, dtype=torch.float64).add(0.003).requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    a = quantised(z, scale, 4)
    inside = (z > -0.25) & (z < 1.75)
    (to_z,) = torch.autograd.grad(a.sum(), z, retain_graph=True)
    assert torch.equal(to_z, inside.double())
    to_scale = [torch.autograd.grad(one, scale, retain_graph=True)[0].item() for one in a]
    expected = torch.where(inside, (a - z) / scale, (z >= 1.75).double())
    torch.testing.assert_close(torch.tensor(to_scale, dtype=torch.float64), expected)


@pytest.mark.parametrize("levels", [1, 4, 16])
def test_even_input_has_no_error_where_the_levels_are_the_steps(levels: int) -> None:
    # A half threshold to begin with, T = L: u(T) is in [0, 1) and the count is the floor of the activation.
    scale = torch.tensor(1.7)
    for z in torch.linspace(-0.5, 2.5, 61).add(0.0007).tolist():
        rate = sum(drive(node(start=0.5, scale=1.7), [z] * levels)) / levels
        assert rate * 1.7 == pytest.approx(quantised(torch.tensor(z), scale, levels).item(), abs=1e-6)


def test_max_pool_of_what_has_arrived() -> None:
    torch.manual_seed(0)
    spikes = (torch.rand(50, 2, 3, 4, 6) < 0.3).float()
    pool = AccumulatedMaxPool(nn.MaxPool2d(2, 2))
    whole = pool(spikes)
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(whole.mean(dim=0), nn.functional.max_pool2d(spikes.mean(dim=0), 2))
    forget(pool)
    parts_of_it = torch.cat([pool(spikes[:20]), pool(spikes[20:])])
    assert torch.equal(parts_of_it, whole)


class Scaled(nn.Module):
    """What a spiking layer sends on in the mean: the activation, in units of the thresholds."""

    def __init__(self, activation: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.activation, self.scale = activation, scale.view(-1, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.activation(z) / self.scale.to(z.dtype)


def largest_change(detector: Detector, x: Tensor) -> float:
    """By which folding and scaling alone change the maps: activations back in the place of the neurons."""
    spiking = convert(detector, lambda: [x], Conversion(normalise="max"))
    for name, module in list(spiking.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, IF):
            setattr(spiking.get_submodule(parent), last, Scaled(detector.get_submodule(name), module.scale))
        elif isinstance(module, AccumulatedMaxPool):
            setattr(spiking.get_submodule(parent), last, module.pool)
    with torch.no_grad():
        return max(float((a - b).abs().max()) for a, b in zip(spiking(x).maps, detector(x).maps, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_folding_and_scaling_leave_the_maps_as_they_are(model: str) -> None:
    assert largest_change(trained_like(model).double(), frames().double()) < 1e-10
    if model != "spiking_yolov3_fc":  # whose activation is not continuous: rounding may be a whole level
        assert largest_change(trained_like(model), frames()) < 1e-5


def test_zeros_that_are_padded_are_no_currents() -> None:
    detector = trained_like("spiking_yolov3").double()
    last5 = detector.neck.last5
    assert isinstance(last5, MultiStep)
    for padding, inside in ((nn.ZeroPad2d(1), 0), (nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), 1)):
        last5[0].padding = (inside, inside)
        detector.neck.last5 = MultiStep(padding, *last5)
        assert largest_change(detector, frames().double()) < 1e-10
    detector.neck.last5 = MultiStep(nn.AvgPool2d(3, 1, padding=1), *last5)
    with pytest.raises(
        ValueError, match=r"cannot convert neck\.last5\.1: in its input a spike counts less at the border"
    ):
        convert(detector, lambda: [frames().double()])


def test_convolutions_in_a_row_are_fed_by_currents() -> None:
    # Without a bias the second one's input is a multiple of the first neuron's scale, as if it were spikes.
    detector = trained_like("spiking_yolov3").double()
    last5 = detector.neck.last5
    assert isinstance(last5, MultiStep)
    channels = last5[0].in_channels
    detector.neck.last5 = MultiStep(nn.Conv2d(channels, channels, 1, bias=False).double(), *last5)
    assert largest_change(detector, frames().double()) < 1e-10


class Sum(nn.Module):
    """Adds what it is fed with to what a layer makes of it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Identity()])
def test_sums_of_spikes_and_of_spikes_and_currents_are_refused(activation: nn.Module) -> None:
    detector = trained_like("spiking_yolov3")
    last5 = detector.neck.last5
    assert isinstance(last5, MultiStep)
    channels = last5[0].in_channels
    added = Sum(nn.Sequential(nn.Conv2d(channels, channels, 1), activation))
    detector.neck.last5 = MultiStep(added, *last5)
    with pytest.raises(ValueError, match=r"cannot convert neck\.last5\.1: the spikes of several layers, or spikes and"):
        convert(detector, lambda: [frames()])


def simulate(spiking: Detector, x: Tensor, times: list[int], *, chunk: int = 16) -> Iterator[tuple[int, HeadMaps]]:
    """The maps after some steps, from one pass."""
    spiking.T, spiking.chunk = times[-1], chunk
    with torch.no_grad():
        yield from zip(times, spiking.read(x, [range(t) for t in times]), strict=True)


def test_folding_alone_is_exact_in_float64() -> None:
    detector = trained_like("spiking_yolov3").double()
    folded = copy.deepcopy(detector)
    fold_normalisation(folded)
    assert not [one for one in folded.modules() if isinstance(one, nn.BatchNorm2d)]
    with torch.no_grad():
        for mine, other in zip(folded(frames().double()).maps, detector(frames().double()).maps, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("model", ["spiking_yolov3", "ann_small", "ann_small by concatenation"])
def test_maps_approach_those_of_the_ann_as_one_over_time(model: str) -> None:
    detector = trained_like(model)
    spiking = convert(detector, lambda: [frames()], Conversion(normalise="max", start=0.5))
    with torch.no_grad():
        truth = detector(frames()).maps
    error = {
        t: max(float((a - b).abs().mean()) for a, b in zip(maps.maps, truth, strict=True))
        for t, maps in simulate(spiking, frames(), [8, 32, 128, 512])
    }
    assert error[512] < error[8] / 20
    for early, late in ((8, 32), (32, 128), (128, 512)):
        assert 2 < error[early] / error[late] < 8  # 4 is the law


def test_one_pass_equals_a_pass_for_every_time_and_any_chunk() -> None:
    spiking = convert(trained_like("spiking_yolov3_fc"), lambda: [frames()])
    together = dict(simulate(spiking, frames(), [3, 7, 20], chunk=4))
    for t, maps in together.items():
        ((_, alone),) = simulate(spiking, frames(), [t], chunk=64)
        for a, b in zip(maps.maps, alone.maps, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "rule"), [("spiking_yolov3", "plain"), ("spiking_yolov3", "signed"), ("spiking_yolo", "imbalanced")]
)
def test_no_chunk_is_longer_than_asked(model: str, rule: Rule) -> None:
    detector = build_detector(model, 1, 1, ["model.width=0.01", *TYPED.get(model, ())]).eval()
    x = frames()[:, :1, :, :32, :32]
    spiking = convert(detector, lambda: [x], Conversion(rule=rule))
    lengths: dict[str, list[int]] = {name: [] for name, one in spiking.named_modules() if isinstance(one, IF)}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, args: lengths[name].append(len(args[0]))

    for name in lengths:
        spiking.get_submodule(name).register_forward_pre_hook(note(name))
    assert [t for t, _ in simulate(spiking, x, [30, 2048], chunk=16)] == [30, 2048]
    for of_layer in lengths.values():
        assert max(of_layer) == 16
        assert sum(of_layer) == 2048


def test_delayed_neurons_take_all_steps_of_a_time_or_refuse() -> None:
    x = frames()[:, :1, :, :32, :32]
    spiking = convert(trained_like("spiking_yolov3"), lambda: [x], Conversion(rule="delayed"))
    assert [t for t, _ in simulate(spiking, x, [4, 16], chunk=16)] == [4, 16]
    with pytest.raises(ValueError, match=r"convert\.chunk is 16; expected at least T = 2048, for delayed neurons"):
        list(simulate(spiking, x, [4, 2048], chunk=16))


def test_delayed_neurons_have_no_error_of_their_own_where_the_levels_are_the_steps() -> None:
    detector = trained_like("spiking_yolov3_fc")
    levels = next(one.levels for one in detector.modules() if isinstance(one, Quantised))
    rules: tuple[Rule, ...] = ("delayed", "plain")
    delayed, plain = (convert(detector, lambda: [frames()], Conversion(rule=rule)) for rule in rules)
    # But for currents that lie on a step within rounding: one neuron in ten thousand, off by one step.
    assert all(one.total < 1e-3 for one in layer_errors(delayed, detector, [frames()], levels))
    assert layer_errors(plain, detector, [frames()], levels)[-1].total > 1e-2


def test_parts_of_the_error_by_hand() -> None:
    # T = 4, threshold 1: 1.3 is clipped to 1; 0.6 lies on the grid at 0.5; two spikes too many are unevenness.
    z, rate = torch.tensor([1.3, 0.6, 0.6]), torch.tensor([1.0, 0.5, 1.0])
    clipping, grid, unevenness = parts(z, rate, torch.relu, 4, 0.0)
    torch.testing.assert_close(clipping, torch.tensor([-0.3, 0.0, 0.0]))
    torch.testing.assert_close(grid, torch.tensor([0.0, -0.1, -0.1]))
    torch.testing.assert_close(unevenness, torch.tensor([0.0, 0.0, 0.5]))
    torch.testing.assert_close(clipping + grid + unevenness, rate - torch.relu(z))


def test_parts_of_the_error_below_zero_by_hand() -> None:
    # Slope 1/2, T = 4: a negative spike at -2. -0.8 comes to -3.2, past -2 once; -3 to -12, past -2 six times.
    z, rate = torch.tensor([-0.8, -3.0, 0.6]), torch.tensor([-0.25, -1.0, 0.25])
    leaky = nn.LeakyReLU(0.5)
    clipping, grid, unevenness = parts(z, rate, leaky, 4, 0.0, 0.5)
    torch.testing.assert_close(clipping, torch.tensor([0.0, 0.5, 0.0]))
    torch.testing.assert_close(grid, torch.tensor([0.15, 0.0, -0.1]))
    torch.testing.assert_close(unevenness, torch.tensor([0.0, 0.0, -0.25]))
    # A start of 1/2: -2.7 still lies past -2 once, -1.9 (from z = -0.6) does not.
    assert parts(torch.tensor([-0.6]), torch.tensor([0.0]), leaky, 4, 0.5, 0.5)[1].item() == pytest.approx(0.3)


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_even_currents_are_not_uneven_for_the_imbalanced_neuron(start: float) -> None:
    z = torch.linspace(-9.97, 1.5, 200).add(0.0031)
    for steps in (1, 7, 30):
        neuron = IF(torch.ones(1), start, "imbalanced", 0.1)
        rate = neuron(z.view(1, 1, 1, 1, -1).repeat(steps, 1, 1, 1, 1)).mean(dim=0).flatten()
        _, _, unevenness = parts(z, rate, nn.LeakyReLU(0.1), steps, start, 0.1)
        assert unevenness.abs().max() < 1e-6


def test_report_of_a_leaky_network() -> None:
    detector = trained_like("spiking_yolo")
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = layer_errors(spiking, detector, [frames()], 16)
    # The image comes evenly: what its layer does wrong is the grid and clipping, below 0 as well.
    assert errors[0].unevenness < 1e-3
    assert errors[0].quantisation > 0.01
    assert errors[1].unevenness > 0.01


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_report_is_the_error_of_a_layer_on_the_input_that_it_had(model: str) -> None:
    # phi_l - f(W phi_(l-1)), Ming and Li, 2024, (18), from what went into the layer and came out of it.
    detector, steps = trained_like(model), 12
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = {one.name: one for one in layer_errors(spiking, detector, [frames()], steps)}
    name = list(errors)[1]
    node = spiking.get_submodule(name)
    convolution = spiking.get_submodule(name.rpartition(".")[0] + ".0")
    fed, sent = torch.zeros(()), torch.zeros(())

    def note_fed(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal fed
        fed = fed + args[0].unflatten(0, (-1, 2)).sum(dim=0)

    def note_sent(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal sent
        sent = sent + output.sum(dim=0)

    convolution.register_forward_pre_hook(note_fed)
    node.register_forward_hook(note_sent)
    list(simulate(spiking, frames(), [steps]))
    assert isinstance(node, IF)
    scale = node.scale.view(-1, 1, 1)
    with torch.no_grad():
        z = convolution(fed / steps)
    error = sent / steps - detector.get_submodule(name)(z) / scale
    slope = 0.1 if model == "spiking_yolo" else 0.0
    split = parts(z / scale, sent / steps, detector.get_submodule(name), steps, 0.0, slope)
    torch.testing.assert_close(split[0] + split[1] + split[2], error)
    found = errors[name]
    assert found.total == pytest.approx(error.square().mean().sqrt().item(), rel=1e-4)
    assert found.mean_total == pytest.approx(error.mean().item(), rel=1e-3)
    assert found.mean_clipping + found.mean_quantisation + found.mean_unevenness == pytest.approx(found.mean_total)
    for part, value in zip((found.clipping, found.quantisation, found.unevenness), split, strict=True):
        assert part == pytest.approx(value.square().mean().sqrt().item(), rel=1e-3, abs=1e-6)


def test_report_names_every_layer_and_the_first_inherits_nothing() -> None:
    detector = trained_like("spiking_yolov3")
    spiking = convert(detector, lambda: [frames()], Conversion(percentile=99.0))
    errors = layer_errors(spiking, detector, [frames()], 16)
    assert [one.name for one in errors] == [n for n, m in detector.named_modules() if isinstance(m, nn.ReLU)]
    assert errors[0].inherited == pytest.approx(0, abs=1e-5)
    assert errors[0].clipping > 0
    assert errors[-1].inherited > 0
    assert all(0 <= one.firing_rate <= 1 for one in errors)


def batches(*listed: Tensor) -> Iterable[Tensor]:
    return list(listed)


def test_scales_by_every_rule() -> None:
    act = nn.ReLU()
    values = torch.linspace(0, 10, 1001).view(1, 1, 1, 1001).repeat(1, 2, 1, 1)
    values[:, 1] *= 0.5

    def scales(rule: str, **options: float) -> list[float]:
        return calibrate(act, {"a": act}, lambda: batches(values), rule=rule, **options)["a"].tolist()  # type: ignore[arg-type]

    assert scales("max") == [10, 5]
    assert scales("percentile", percentile=90.0) == pytest.approx([9, 4.5], abs=0.02)
    assert scales("mean_square", levels=64) == pytest.approx([10, 5], rel=0.05)
    assert scales("mean_square", levels=2)[0] < 10


def test_scales_reach_below_zero_where_the_activation_does() -> None:
    act = nn.LeakyReLU(0.1)
    values = torch.tensor([[-70.0, 3.0], [-20.0, 5.0]]).view(1, 2, 1, 2)
    for rule in ("max", "percentile", "mean_square"):
        found = calibrate(act, {"a": act}, lambda: batches(values), rule=rule)["a"].tolist()  # type: ignore[arg-type]
        assert found == pytest.approx([7, 5], rel=0.05)


def test_a_silent_channel_gets_the_largest_scale() -> None:
    act = nn.ReLU()
    values = torch.tensor([-1.0, 3.0]).view(1, 2, 1, 1)
    assert calibrate(act, {"a": act}, lambda: batches(values), rule="max")["a"].tolist() == [3, 3]


def test_a_rarely_active_channel_is_scaled_by_the_values_above_zero() -> None:
    act = nn.ReLU()
    values = torch.full((1, 2, 1, 100_000), -1.0)
    values[0, 0, 0, :50] = torch.arange(1.0, 51.0)  # active in 0.05 % of the places: the 99.9th percentile is 0
    values[0, 1, 0, :150] = torch.arange(1.0, 151.0)  # in 0.15 %: 100 of 100,000 may lie above
    found = calibrate(act, {"a": act}, lambda: batches(values), percentile=99.9)["a"].tolist()
    assert found == pytest.approx([50, 50], abs=0.1)
    half = calibrate(act, {"a": act}, lambda: batches(values), percentile=50.0)["a"].tolist()
    assert half == pytest.approx([25, 75], abs=0.1)


def test_counts_of_more_values_than_float32_can_count() -> None:
    act = nn.ReLU()
    low, high = torch.full((1, 1, 1, 2**21), 0.5), torch.ones(1, 1, 1, 2**21)
    # 12 of 16 are low: 25.2 million, where float32 stops at 16.8 million.
    found = calibrate(act, {"a": act}, lambda: [low] * 12 + [high] * 4, percentile=70.0)["a"].item()
    assert found == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("pick", [by_percentile(99.9), least_squares(32)])
def test_scales_are_picked_on_the_device_of_the_maps(pick: Callable[[Tensor], Tensor]) -> None:
    with FakeTensorMode():
        assert pick(torch.zeros(3, 2049, dtype=torch.int64, device="cuda")).device.type == "cuda"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("normalise", ["percentile", "mean_square"])
def test_conversion_on_a_gpu(normalise: calibration.Rule) -> None:
    detector, settings = trained_like("spiking_yolov3"), Conversion(normalise=normalise)
    here = convert(detector, lambda: [frames()], settings).state_dict()
    there = convert(detector.cuda(), lambda: [frames().cuda()], settings).state_dict()
    for name, value in there.items():
        # A value at the edge of a bin may lie in the next one there.
        torch.testing.assert_close(value, here[name].cuda(), rtol=2e-2, atol=1e-3)


def test_what_cannot_be_converted_is_named() -> None:
    detector = trained_like("spiking_yolov3")
    detector.neck.reduce[2] = nn.GELU()  # type: ignore[operator, index]
    with pytest.raises(ValueError, match=r"cannot convert neck\.reduce\.2 \(GELU\)"):
        convert(detector, lambda: [frames()])
    lif = build_detector("ems_small", 3, 1)
    with pytest.raises(ValueError, match=r"cannot convert .*LIF"):
        convert(lif, lambda: [frames()])


def test_rules_go_with_their_activations() -> None:
    leaky = trained_like("spiking_yolo")
    for rule in ("plain", "imbalanced"):
        nodes = [
            one for one in convert(leaky, lambda: [frames()], Conversion(rule=rule)).modules() if isinstance(one, IF)
        ]
        assert {(one.rule, one.slope) for one in nodes} == {("imbalanced", 0.1)}
    for rule in ("signed", "delayed"):
        with pytest.raises(ValueError, match=rf"convert\.rule is '{rule}' and backbone\.layers\.0\.2 is leaky ReLU"):
            convert(leaky, lambda: [frames()], Conversion(rule=rule))
    for model, kind in (("spiking_yolov3", "ReLU"), ("spiking_yolov3_fc", "Quantised")):
        with pytest.raises(ValueError, match=rf"convert\.rule is 'imbalanced' and backbone\.fine\.0\.2 is {kind}"):
            convert(trained_like(model), lambda: [frames()], Conversion(rule="imbalanced"))


@pytest.mark.parametrize("slope", [0.0, -0.1, float("nan")])
def test_slopes_that_no_threshold_has_are_refused(slope: float) -> None:
    detector = trained_like("spiking_yolo")
    first = next(one for one in detector.modules() if isinstance(one, nn.LeakyReLU))
    first.negative_slope = slope
    with pytest.raises(ValueError, match=rf"backbone\.layers\.0\.2: the slope of its leaky ReLU is {slope}"):
        convert(detector, lambda: [frames()])


@pytest.mark.parametrize("start", [float("nan"), -3, 5])
def test_a_start_that_is_no_share_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match=rf"convert\.start is {start}; expected a share of the threshold in \[0, 1\]"):
        Conversion(start=start)


def test_bad_calibration_and_settings() -> None:
    detector = trained_like("spiking_yolov3_fc")
    with pytest.raises(ValueError, match="no batch"):
        convert(detector, list)
    with pytest.raises(ValueError, match="not finite"):
        convert(detector, lambda: [torch.full((1, 1, 3, 64, 64), float("nan"))])
    broken = trained_like("spiking_yolov3_fc")
    first = next(one for one in broken.modules() if isinstance(one, Quantised))
    first.scale.data.fill_(-1.0)
    with pytest.raises(ValueError, match=r"lambda is -1\.0"):
        convert(broken, lambda: [frames()])
    with pytest.raises(ValueError, match=r"convert\.rule"):
        Conversion(rule="x")  # type: ignore[arg-type]
    spiking = convert(detector, lambda: [frames()])
    with pytest.raises(ValueError, match="expected a whole number of time steps"):
        list(simulate(spiking, frames(), [0]))
