"""A detector on a stream: windows from 0, or potentials carried on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from event_data import SENSOR_HW, make_events

from emsyolo.app import build_detector
from emsyolo.dataset.augment import Letterbox
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.recording import LoadedRecording
from emsyolo.dataset.event.representation import Counts
from emsyolo.deploy.stream import Stream
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.lif import LIF
from emsyolo.types import HeadMaps

STEPS, WINDOW_US = 2, 20_000


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    overrides = ["model.width=0.125", "model.in_channels=2", "neuron.v_threshold=0.1"]
    return build_detector("ems_resnet10", 3, STEPS, overrides).eval()


class Recorded(Stream):
    """Keeps the head maps."""

    kept: list[HeadMaps]

    def _maps(self, sample):  # type: ignore[no-untyped-def]
        maps = super()._maps(sample)
        self.kept.append(maps)
        return maps


def run(detector: Detector, stateful: bool, events: Events, **options: int) -> tuple[Recorded, list[int]]:
    stream = Recorded(
        detector, Postprocess(), Counts(), Letterbox((64, 64), fill=0),
        steps=STEPS, window_us=WINDOW_US, stateful=stateful, **options,
    )  # fmt: skip
    stream.kept = []
    answers = stream.answers(LoadedRecording(Path("a.npy"), events, SENSOR_HW), SENSOR_HW, 0, 60_000)
    return stream, [answer.end_us for answer in answers]


def test_stateless_windows_equal_single_calls(detector: Detector) -> None:
    events = make_events(5000)
    stream, ends = run(detector, False, events)
    assert ends == [20_000, 40_000, 60_000]
    frames = Counts()(events.select((events.t >= 20_000) & (events.t < 40_000)), 20_000, 40_000, STEPS, SENSOR_HW)
    padded = torch.nn.functional.pad(frames, (0, 0, 8, 8))
    alone = detector(padded[:, None])
    for mine, other in zip(stream.kept[1].maps, alone.maps, strict=True):
        torch.testing.assert_close(mine, other)


def test_stateful_steps_equal_one_long_pass(detector: Detector) -> None:
    events = make_events(5000)
    stream, ends = run(detector, True, events)
    assert ends == list(range(10_000, 60_001, 10_000))
    assert detector.T == STEPS
    frames = torch.nn.functional.pad(Counts()(events, 0, 60_000, 6, SENSOR_HW), (0, 0, 8, 8))
    detector.T = 6
    with torch.no_grad():
        whole = detector(frames[:, None])
    mean = [torch.stack(level).mean(dim=0) for level in zip(*(one.maps for one in stream.kept), strict=True)]
    for mine, other in zip(mean, whole.maps, strict=True):
        torch.testing.assert_close(mine, other)


def test_potentials_are_forgotten_after_the_stream(detector: Detector) -> None:
    run(detector, True, make_events(5000))
    assert {node.v for node in detector.modules() if isinstance(node, LIF)} == {0.0}


def test_an_empty_stretch_gives_answers_as_well(detector: Detector) -> None:
    late = make_events(10)
    _, ends = run(detector, False, Events(late.t + 200_000, late.x, late.y, late.p))
    assert len(ends) == 3
