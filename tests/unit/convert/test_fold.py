"""Batch normalisation, folded."""

from __future__ import annotations

import copy

import torch
from convert_data import frames, trained_like
from torch import nn

from emsyolo.convert.fold import fold_normalisation


def test_folding_alone_is_exact_in_float64() -> None:
    detector = trained_like("spiking_yolov3").double()
    folded = copy.deepcopy(detector)
    fold_normalisation(folded)
    assert not [one for one in folded.modules() if isinstance(one, nn.BatchNorm2d)]
    with torch.no_grad():
        for mine, other in zip(folded(frames().double()).maps, detector(frames().double()).maps, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
