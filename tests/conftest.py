"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from emsyolo.model import block
from emsyolo.model.detector import Detector
from emsyolo.model.ems_yolo import ems_yolo
from emsyolo.neuron.lif import LIF

ROOT = Path(__file__).resolve().parents[1]
ANCHORS = [[[10, 14], [23, 27], [37, 58]], [[81, 82], [135, 169], [344, 319]]]


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the readers remember between runs is not the user's; subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_detector() -> Detector:
    """The smallest EMS network: ten layers, eighth width, three classes, T = 2."""
    return ems_yolo(
        T=2,
        num_classes=3,
        anchors=ANCHORS,
        neuron=LIF,
        block=block.ems_cat,
        head_block=block.ems,
        depth=10,
        width=0.125,
    )
