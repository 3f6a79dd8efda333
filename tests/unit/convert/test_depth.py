"""The longest row of neurons in a network."""

from __future__ import annotations

import pytest
import torch
from convert_data import frames, trained_like

from emsyolo.app.passes import Simulated
from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.depth import neurons_in_a_row


@pytest.mark.parametrize(
    ("model", "depth"),
    [
        ("spiking_yolo", 8),  # its convolutions but the last
        ("spiking_yolov3", 16),  # twelve of the backbone, then reduce, lateral, up and last4
        ("ann_small", 20),  # shortcuts and concatenations beside the longest way
        ("ann_small by concatenation", 20),
    ],
)
def test_neurons_in_a_row(model: str, depth: int) -> None:
    detector = trained_like(model)
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    assert neurons_in_a_row(detector) == depth
    assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "latency"),
    [
        (Conversion(T=8), 8),
        (Conversion(rule="radix", T=8), 8 + 8 * 8),
        (Conversion(rule="delayed", T=8, delay=3), 8 + 8 * 3),
        (Conversion(rule="radix", T=8, delay=20), 8 + 8 * 8),
    ],
)
def test_waiting_neurons_make_a_network_late(settings: Conversion, latency: int) -> None:
    spiking = convert(trained_like("spiking_yolo"), lambda: [frames()], settings)
    spiking.T = 8
    passes = Simulated(spiking)
    assert passes.latency(8) == latency
    assert passes.times == ((1, 2, 4, 8) if settings.rule == "plain" else (8,))
