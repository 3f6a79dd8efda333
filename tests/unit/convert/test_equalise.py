"""Quantised activations in networks that were trained without them."""

from __future__ import annotations

import copy

import pytest
import torch
from convert_data import frames, trained_like
from torch import nn

from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.equalise import fit_scales
from emsyolo.convert.wiring import replace_module
from emsyolo.model.detector import Detector
from emsyolo.neuron.quantised import Quantised


def quantised_form(detector: Detector, levels: int) -> Detector:
    """The same weights with quantised activations, whose scales are those of the start."""
    made = copy.deepcopy(detector)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            replace_module(made, name, Quantised(levels, slope=getattr(module, "negative_slope", 0.0)))
    return made


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_so_many_levels_change_nothing(model: str) -> None:
    detector = trained_like(model)
    made = quantised_form(detector, 2**20)
    fit_scales(made, [frames()])
    assert all(module.scale.item() == 1 for module in made.modules() if isinstance(module, Quantised))
    with torch.no_grad():
        for found, true in zip(made(frames()).maps, detector(frames()).maps, strict=True):
            torch.testing.assert_close(found, true, rtol=0, atol=2e-3 * float(true.std()))


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_fifteen_levels_are_better_than_one_scale_for_all(model: str) -> None:
    detector = trained_like(model)
    made, unfitted = quantised_form(detector, 15), quantised_form(detector, 15)
    fit_scales(made, [frames()])
    with torch.no_grad():
        true, fitted, before = (one(frames()).maps for one in (detector, made, unfitted))
    for exact, one, other in zip(true, fitted, before, strict=True):
        assert (one - exact).square().mean() < (other - exact).square().mean() / 2


@pytest.mark.parametrize("model", ["spiking_yolov3", "spiking_yolo"])
def test_four_radix_steps_are_the_fitted_network(model: str) -> None:
    made = quantised_form(trained_like(model), 15)
    fit_scales(made, [frames()])
    with torch.no_grad():
        spiking = convert(made, lambda: [frames()], Conversion(rule="radix", T=4))
        spiking.T, spiking.chunk = 4, None
        for found, true in zip(spiking(frames()).maps, made(frames()).maps, strict=True):
            # But for a few sums that lie on a step within float32's rounding, and what follows from them.
            assert (found - true).square().mean().sqrt() < 0.01 * true.std()


def test_an_activation_behind_something_else_is_refused() -> None:
    made = quantised_form(trained_like("spiking_yolov3"), 15)
    replace_module(made, "backbone.fine.0.1", nn.Identity())
    with pytest.raises(ValueError, match=r"backbone\.fine\.0\.2 follows neither normalisation nor convolution"):
        fit_scales(made, [frames()])
