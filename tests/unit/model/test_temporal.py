"""The slow memory before the head."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pytest
import torch

from emsyolo.app import build_detector
from emsyolo.convert.converter import convert
from emsyolo.deploy.inference import for_inference
from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.model.detector import Detector
from emsyolo.model.temporal import ConvLSTM, ConvLSTMs
from emsyolo.neuron.state import fresh, take
from emsyolo.weights.checkpoint import Weights
from emsyolo.weights.transfer import transfer

SMALL = ["model.width=0.125"]
LSTM = [*SMALL, "temporal=conv_lstm", "temporal.hidden=8"]
MODELS = ["ems_small", "ems_small_ilif", "spike_yolo_n", "spiking_yolov3", "spiking_yolo model.anchors_per_level=[6]"]


def remembering(model: str = "ems_small_ilif", steps: int = 3) -> Detector:
    """A detector whose memory has an effect, with running statistics under which neurons fire."""
    detector = build_detector(model, 3, steps, LSTM)
    for level in detector.temporal.levels:
        torch.nn.init.normal_(level.output.weight, std=0.3)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    detector(torch.rand(steps, 2, 3, 64, 96))
    return detector.eval()


def test_one_step_by_hand() -> None:
    cell = ConvLSTM(1, 1, 3, 3.0)
    with torch.no_grad():
        cell.input.weight.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1))
        cell.recurrent[1].weight.zero_()
        cell.output.weight.fill_(2.0)
        y = cell(torch.full((2, 1, 1, 1, 1), 0.5))
    # log(3 - 1) of i and f: sigmoid(-log 2) = 1/3, sigmoid(log 2) = 2/3; o = 1/2; tanh(1/2) = 0.462117
    c = [0.462117 / 3, 0.462117 / 3 * (2 / 3 + 1)]
    h = [0.5 * torch.tensor(value).tanh().item() for value in c]
    assert y.flatten().tolist() == pytest.approx([0.5 + 2 * value for value in h], abs=1e-5)
    assert cell.c.item() == pytest.approx(c[1], abs=1e-5)


def test_memories_start_with_time_constants_from_one_step_to_the_longest() -> None:
    cell = ConvLSTM(2, 4, 3, 41.0)
    assert (1 / (1 - cell.input.bias[4:8].sigmoid())).tolist() == pytest.approx([11, 21, 31, 41], rel=1e-4)
    torch.testing.assert_close(cell.input.bias[:4], -cell.input.bias[4:8])


@pytest.mark.parametrize("model", MODELS)
def test_at_the_start_it_changes_nothing(model: str) -> None:
    model, *more = model.split()
    plain, detector = (build_detector(model, 3, 2, [*overrides, *more]) for overrides in (SMALL, LSTM))
    names = {name for name in detector.state_dict() if not name.startswith("temporal.")}
    assert names == plain.state_dict().keys()
    plain.load_state_dict({name: detector.state_dict()[name] for name in names})
    frames = torch.rand(detector.T, 1, 3, 64, 96)
    for mine, other in zip(detector(frames).maps, plain(frames).maps, strict=True):
        assert torch.equal(mine, other)


def test_a_pass_over_all_steps_is_as_many_calls() -> None:
    torch.manual_seed(0)
    cells, maps = ConvLSTMs([3, (2, 4)], hidden=5).double(), [torch.randn(4, 2, c, 6, 8).double() for c in (3, 2, 4)]
    for cell in cells.levels:
        torch.nn.init.normal_(cell.output.weight)
    with fresh(cells):
        whole = cells(maps)
    assert [m.shape for m in whole] == [m.shape for m in maps]
    with fresh(cells):
        steps = [cells([m[t : t + 1] for m in maps]) for t in range(4)]
    for mine, parts in zip(whole, zip(*steps, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.cat(parts), rtol=1e-13, atol=1e-13)


def test_a_detector_goes_on_from_its_memory_and_a_sample_may_begin_anew() -> None:
    detector, frames = remembering(), torch.rand(3, 2, 3, 64, 96)
    with torch.no_grad():
        whole, after = detector.run(frames)
        detector.T = 1
        state, maps = None, []
        for t in range(3):
            found, state = detector.run(frames[t : t + 1], state)
            maps.append(found.maps[0])
        torch.testing.assert_close(torch.stack(maps).mean(dim=0), whole.maps[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state.values["temporal.levels.0"]["c"], after.values["temporal.levels.0"]["c"])
        mixed = detector.run(frames[:1], state.where(torch.tensor([True, False])))[0].maps[0]
        torch.testing.assert_close(mixed[0], detector.run(frames[:1], state)[0].maps[0][0])
        torch.testing.assert_close(mixed[1], detector.run(frames[:1])[0].maps[0][1])
        assert not torch.allclose(mixed[1], detector.run(frames[:1], state)[0].maps[0][1])
    assert take(copy.deepcopy(detector)).values["temporal.levels.0"]["h"] is None


def test_gradients_go_through_a_state_until_it_is_cut() -> None:
    cells = ConvLSTMs([2], hidden=3)
    torch.nn.init.normal_(cells.levels[0].output.weight)
    x, then = torch.rand(1, 1, 2, 4, 4, requires_grad=True), torch.rand(1, 1, 2, 4, 4)
    cells([x])
    (y,) = cells([then])
    assert torch.autograd.grad(y.sum(), x)[0].abs().sum() > 0
    cells.levels[0].c, cells.levels[0].h = take(cells).detach().values["levels.0"].values()
    assert not any(value.requires_grad for value in take(cells).values["levels.0"].values())


def test_training_it_alone_leaves_the_rest_as_it_was() -> None:
    detector = build_detector("ems_small_ilif", 3, 2, LSTM)
    detector.train_only(["temporal"])
    detector.train()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    for cell in detector.temporal.levels:
        torch.nn.init.normal_(cell.output.weight)
    sum(level.square().mean() for level in detector(torch.rand(2, 1, 3, 64, 96)).maps).backward()
    trained = {name for name, parameter in detector.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in detector.named_parameters() if name.startswith("temporal.")}
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, before[name]) or name.endswith("output.weight"), name
    assert not copy.deepcopy(detector).train().backbone.training


def test_a_part_that_is_not_there_is_refused() -> None:
    detector = build_detector("ems_small", 3, 1, SMALL)
    expected = r"trainable is \['temporal'\]; expected some of this detector's parts, \['backbone', 'neck', 'head'\]"
    with pytest.raises(ValueError, match=expected):
        detector.train_only(["temporal"])
    with pytest.raises(ValueError, match=r"trainable is \[\]"):
        detector.train_only([])


def test_it_is_new_to_weights_without_it_and_taken_from_those_with_it() -> None:
    classes = ("a", "b", "c")
    config = {"class_names": list(classes), "model": "x"}
    there, here = build_detector("ems_small_ilif", 3, 1, SMALL), remembering(steps=1)
    own = here.temporal.levels[0].output.weight.clone()
    assert transfer(here, Weights(Path("a"), there.state_dict(), config), classes).added == ("temporal",)
    assert torch.equal(here.backbone.stem[0].weight, there.backbone.stem[0].weight)
    assert torch.equal(here.temporal.levels[0].output.weight, own)
    again = build_detector("ems_small_ilif", 3, 1, LSTM)
    assert transfer(again, Weights(Path("a"), here.state_dict(), config), classes).added == ()
    assert torch.equal(again.temporal.levels[0].output.weight, own)


def test_its_convolutions_are_counted_at_every_step() -> None:
    detector = remembering()
    with torch.no_grad(), ActivityMeter(detector) as meter:
        detector(torch.rand(3, 1, 3, 64, 96))
        meter.step(1)
    rows = {layer.name: layer for layer in meter.activity().layers}
    row = "temporal.levels.0"
    pixels, read = 3 * 4 * 6, sum(detector.temporal.widths[0])  # three steps at stride 16
    assert rows[f"{row}.input"].macs == pixels * read * 32
    assert rows[f"{row}.recurrent.0"].macs == pixels * 8 * 9
    assert rows[f"{row}.recurrent.1"].macs == pixels * 8 * 32
    assert rows[f"{row}.output"].macs == pixels * 8 * read
    assert rows[f"{row}.input"].levels == 16  # the towers end in neurons
    assert {rows[f"{row}.{name}"].levels for name in ("recurrent.0", "recurrent.1", "output")} == {None}
    assert rows["head.maps.0.boxes"].levels is None
    assert {layer.passes for name, layer in rows.items() if name.startswith("temporal")} == {3.0}


def test_its_memories_are_float32_in_every_precision() -> None:
    detector, frames = remembering(), torch.rand(3, 1, 3, 64, 96)
    with torch.no_grad():
        for precision in ("32", "bf16"):
            ready = for_inference(detector, torch.device("cpu"), precision=precision)
            found, state = ready.run(frames)
            assert {value.dtype for value in state.values["temporal.levels.0"].values()} == {torch.float32}
            assert found.maps[0].dtype == torch.float32
        exact = for_inference(detector, torch.device("cpu"))(frames).maps[0]
        torch.testing.assert_close(exact, detector(frames).maps[0], rtol=1e-3, atol=1e-3)


def test_it_cannot_be_converted() -> None:
    detector = build_detector("ann_small", 3, 1, LSTM)
    with pytest.raises(ValueError, match=r"cannot convert temporal \(ConvLSTMs\), whose gates no spikes stand for"):
        convert(detector, partial(iter, [torch.rand(1, 1, 3, 64, 64)]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, r"temporal\.hidden is 0"),
        ({"kernel": 2}, r"temporal\.kernel is 2; expected an odd number"),
        ({"longest_steps": 1}, r"temporal\.longest_steps is 1; expected a number of steps > 1"),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvLSTMs([4], **arguments)
