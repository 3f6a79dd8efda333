"""From a conventional network to a spiking one: laws and refusals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from convert_data import TYPED, frames, simulate, trained_like
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.convert import calibrate as calibration
from emsyolo.convert.converter import Conversion, Rule, convert
from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.layer.multistep import MultiStep
from emsyolo.model.detector import Detector
from emsyolo.neuron.accumulate import AccumulateFire
from emsyolo.neuron.integrate import IF
from emsyolo.neuron.quantised import Quantised

MODELS = ["spiking_yolov3", "spiking_yolov3_fc", "spiking_yolo", "ann_small", "ann_small by concatenation"]


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


@pytest.mark.parametrize(
    "model",
    ["spiking_yolov3", "ann_small", "ann_small by concatenation", "ann_small without anchors", "spike_yolo_n"],
)
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


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo", "ann_small", "ann_small by concatenation"])
@pytest.mark.parametrize(("rule", "times"), [("delayed", (7, 31, 127)), ("radix", (3, 5, 7)), ("ternary", (2, 3, 5))])
def test_maps_approach_those_of_the_ann_as_one_over_the_levels(
    model: str, rule: Rule, times: tuple[int, int, int]
) -> None:
    detector = trained_like(model)
    with torch.no_grad():
        truth = detector(frames()).maps
    error = {}
    for steps in times:
        settings = Conversion(rule=rule, T=steps, normalise="max", chunk=127)
        spiking = convert(detector, lambda: [frames()], settings)
        ((_, maps),) = simulate(spiking, frames(), [steps], chunk=127)
        error[settings.own_levels] = max(float((a - b).abs().mean()) for a, b in zip(maps.maps, truth, strict=True))
    for early, late in pairwise(error):
        assert 0.5 < (error[early] / error[late]) / (late / early) < 2  # 1 is the law


def test_radix_is_delayed_at_as_many_steps_as_it_has_levels() -> None:
    detector = trained_like("spiking_yolo")
    both = []
    for rule, steps in (("radix", 4), ("delayed", 15)):
        settings = Conversion(rule=rule, T=steps, normalise="mean_square")  # type: ignore[arg-type]
        both.append(next(simulate(convert(detector, lambda: [frames()], settings), frames(), [steps]))[1])
    for one, other in zip(both[0].maps, both[1].maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_correcting_biases_needs_no_labels_and_brings_the_maps_nearer() -> None:
    detector = trained_like("spiking_yolo")
    images = [frames(seed) for seed in (1, 2)]
    with torch.no_grad():
        truth = [detector(x).maps for x in images]

    def error(**more: Any) -> float:
        spiking = convert(detector, lambda: images, Conversion(rule="radix", T=3, normalise="mean_square", **more))
        spiking.T = 3
        with torch.no_grad():
            found = [spiking(x).maps for x in images]
        pairs = [pair for x, y in zip(found, truth, strict=True) for pair in zip(x, y, strict=True)]
        return sum(float((one - other).square().mean()) for one, other in pairs)

    assert error(correct_biases=True) < error()
    for more in ({"correct_biases": True}, {"tune_epochs": 1}):
        with pytest.raises(
            ValueError, match=r"with convert\.rule='plain', delay=None; expected one of delayed, radix, ternary"
        ):
            Conversion(**more)


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
    with pytest.raises(ValueError, match=r"convert\.chunk is 16; expected at least T = 2048, since these neurons wait"):
        list(simulate(spiking, x, [4, 2048], chunk=16))


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
    for rule in ("delayed", "radix", "ternary"):
        waiting = convert(leaky, lambda: [frames()], Conversion(rule=rule, T=4))
        slopes = {(one.slope, one.start) for one in waiting.modules() if isinstance(one, AccumulateFire)}
        assert slopes == {(0.1, 0.5)}
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
