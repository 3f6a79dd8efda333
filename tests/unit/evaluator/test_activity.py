"""ActivityMeter on networks whose operations can be counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from spikingjelly.activation_based.neuron import IFNode
from torch import Tensor, nn

from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.model.detector import Detector

MAC, AC = 4.6e-9, 0.9e-9  # mJ


class Tiny(nn.Module):
    """One convolution of a still image, computed once, an IF neuron over T = 2 steps, one convolution of its spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 1, 1, bias=False)
        self.fire = IFNode(v_threshold=1.0, v_reset=0.0, step_mode="m")
        self.out = nn.Conv2d(1, 2, 1, bias=False)
        self.never = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.stem.weight)

    def forward(self, image: Tensor) -> Tensor:
        self.fire.reset()
        current = self.stem(image)
        return self.out(self.fire(current.expand(2, *current.shape)).flatten(0, 1))


def three_ones() -> Tensor:
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 0, 0] = x[0, 0, 2, 3] = x[0, 0, 3, 4] = 1
    return x


def test_convolution_of_three_spikes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with ActivityMeter(network) as meter:
        network(three_ones())
        meter.step(1)
    # 9 weights at each of 20 places; 3 of 20 inputs are ones.
    assert meter.report() == {
        "firing_rate": None,
        "spikes_per_image": None,
        "layers": [
            {
                "name": "0",
                "levels": 1,
                "firing_rate": 0.15,
                "binary": True,
                "macs": 180.0,
                "synops": pytest.approx(27.0),
            }
        ],
        "impure": [],
        "energy": {
            "snn_mJ": pytest.approx(27 * AC),
            "ann_mJ": pytest.approx(180 * MAC),
            "ratio": pytest.approx(27 * 0.9 / (180 * 4.6)),
        },
    }


def test_steps_spikes_and_the_stem_computed_once() -> None:
    network = Tiny()
    with torch.no_grad(), ActivityMeter(network) as meter:
        for n_images in (3, 1):
            network(torch.full((n_images, 1, 2, 3), 0.5))  # the potential is 0.5, then 1.0: one spike in two steps
            meter.step(n_images)
    report = meter.report()
    assert report["firing_rate"] == 0.5
    assert report["layers"] == [
        {"name": "stem", "levels": None, "firing_rate": 1.0, "binary": False, "macs": 6.0, "synops": 6.0},
        {"name": "out", "levels": 1, "firing_rate": 0.5, "binary": True, "macs": 24.0, "synops": 12.0},
    ]
    assert report["impure"] == [{"name": "stem", "macs": 6.0}]
    assert report["energy"]["snn_mJ"] == pytest.approx(6 * MAC + 12 * AC)
    assert report["energy"]["ann_mJ"] == pytest.approx((6 + 12) * MAC)
    dear = meter.report(mac_pj=10, ac_pj=1)["energy"]
    assert dear["snn_mJ"] == pytest.approx(72e-9)
    assert dear["ratio"] == pytest.approx(72 / 180)


def test_no_spikes_no_energy() -> None:
    network = Tiny()
    with torch.no_grad(), ActivityMeter(network) as meter:
        network(torch.zeros(1, 1, 2, 3))
        meter.step(1)
    report = meter.report()
    assert (report["firing_rate"], report["energy"]["snn_mJ"], report["impure"]) == (0.0, 0.0, [])
    assert report["energy"]["ann_mJ"] == pytest.approx(18 * MAC)


def test_strides_groups_and_uneven_kernels() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, (3, 1), stride=2, groups=2))
    with torch.no_grad(), ActivityMeter(network) as meter:
        network(torch.rand(2, 4, 7, 5) + 1)
        meter.step(2)
    # 3x1 weights of 2 channels, 6 outputs, at 3x3 places.
    assert meter.report()["layers"][0]["macs"] == 324


@pytest.mark.parametrize("other", [0.5, 2.0, -1.0, float("nan")])
def test_one_element_of_one_batch_makes_it_impure(other: float) -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3))
    with torch.no_grad(), ActivityMeter(network) as meter:
        for value in (1.0, other, 0.0):
            x = three_ones()
            x[0, 0, 1, 1] = value
            network(x)
            meter.step(1)
    (layer,) = meter.report()["layers"]
    assert (layer["binary"], layer["firing_rate"]) == (False, (4 + 4 + 3) / 60)
    assert layer["macs"] == 9 * 6
    # A negative spike, of a signed neuron, costs an accumulate; any other number makes all of it multiply.
    assert layer["synops"] == (pytest.approx(11 / 60 * 54) if other == -1 else 54)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_counts_are_exact_in_any_precision(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1)).to(dtype)
    ones = torch.ones(1, 1, 300, 401, dtype=dtype)  # more than bfloat16 or float16 can count
    ones[0, 0, 0, 0] = 0
    with torch.no_grad(), ActivityMeter(network) as meter:
        network(ones)
        meter.step(1)
    (layer,) = meter.report()["layers"]
    assert (layer["binary"], layer["synops"]) == (True, pytest.approx(300 * 401 - 1, rel=1e-12))


def test_autocast_is_measured_before_the_cast() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3))
    nearly = three_ones()
    nearly[0, 0, 1, 1] = 1 + 1e-4  # 1 in bfloat16
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), ActivityMeter(network) as meter:
        network(nearly)
        meter.step(1)
    assert not meter.report()["layers"][0]["binary"]


def test_counts_only_inside_the_block() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3))
    with ActivityMeter(network) as meter:
        network(three_ones())
        meter.step(1)
    with pytest.raises(RuntimeError), meter:
        network(torch.rand(1, 2, 4, 5))  # two channels for one: fails inside the block
    network(torch.rand(1, 1, 4, 5))
    assert meter.report()["layers"][0]["binary"]
    assert not network[0]._forward_hooks


def test_images_must_be_counted() -> None:
    with pytest.raises(ValueError, match="counted 0 images"):
        ActivityMeter(nn.Conv2d(1, 1, 1)).report()


def test_detector(tiny_detector: Detector) -> None:
    tiny_detector.eval()
    frames = torch.randint(0, 256, (1, 2, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode(), ActivityMeter(tiny_detector) as meter:
        tiny_detector(frames)
        meter.step(2)
    report = meter.report()
    convolutions = [name for name, module in tiny_detector.named_modules() if isinstance(module, nn.Conv2d)]
    assert sorted(row["name"] for row in report["layers"]) == sorted(convolutions)
    stem = report["layers"][0]
    weight = tiny_detector.get_submodule(stem["name"]).weight
    assert stem["macs"] == weight.numel() * 32 * 48  # stride 2, once for T = 2
    assert {one["name"] for one in report["impure"]} >= {stem["name"]}
    assert json.loads(json.dumps(report)) == report
