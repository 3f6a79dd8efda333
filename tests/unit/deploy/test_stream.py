"""A detector on a stream: windows from 0, or potentials carried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_data import SENSOR_HW, make_events

from emsyolo.app import build_detector
from emsyolo.dataset.augment import Letterbox
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.framing import Framing
from emsyolo.dataset.event.recording import LoadedRecording
from emsyolo.dataset.event.representation import Counts
from emsyolo.dataset.images import plain_record
from emsyolo.deploy.stream import Stream
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.state import State
from emsyolo.types import Detections, HeadMaps

STEPS, WINDOW_US = 2, 20_000


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    overrides = ["model.width=0.125", "model.in_channels=2", "neuron.v_threshold=0.1"]
    return build_detector("ems_resnet10", 3, STEPS, overrides).eval()


def run(
    detector: Detector, stateful: bool, events: Events, frame_hw: tuple[int, int] | None = None
) -> tuple[list[HeadMaps], list[int]]:
    """The maps of every call, and the times of the answers."""
    stream = Stream(
        detector, Postprocess(), Framing(Counts(), STEPS, WINDOW_US, frame_hw), Letterbox((64, 64), fill=0),
        stateful=stateful,
    )  # fmt: skip
    kept: list[HeadMaps] = []

    def recorded(*given: Any, **named: Any) -> tuple[HeadMaps, State]:
        maps, state = Detector.run(detector, *given, **named)
        kept.append(maps)
        return maps, state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "run", recorded, raising=False)
        answers = stream.answers(LoadedRecording(Path("a.npy"), events, SENSOR_HW), SENSOR_HW, stream.edges(0, 60_000))
        return kept, [answer.end_us for answer in answers]


def test_stateless_windows_equal_single_calls(detector: Detector) -> None:
    events = make_events(5000)
    kept, ends = run(detector, False, events)
    assert ends == [20_000, 40_000, 60_000]
    frames = Counts()(events.select((events.t >= 20_000) & (events.t < 40_000)), 20_000, 40_000, STEPS, SENSOR_HW)
    padded = torch.nn.functional.pad(frames, (0, 0, 8, 8))
    alone = detector(padded[:, None])
    for mine, other in zip(kept[1].maps, alone.maps, strict=True):
        torch.testing.assert_close(mine, other)


def test_stateful_steps_equal_one_long_pass(detector: Detector) -> None:
    events = make_events(5000)
    kept, ends = run(detector, True, events)
    assert ends == list(range(10_000, 60_001, 10_000))
    assert detector.T == STEPS
    frames = torch.nn.functional.pad(Counts()(events, 0, 60_000, 6, SENSOR_HW), (0, 0, 8, 8))
    detector.T = 6
    with torch.no_grad():
        whole = detector(frames[:, None])
    mean = [torch.stack(level).mean(dim=0) for level in zip(*(one.maps for one in kept), strict=True)]
    for mine, other in zip(mean, whole.maps, strict=True):
        torch.testing.assert_close(mine, other)


def test_potentials_are_forgotten_after_the_stream(detector: Detector) -> None:
    run(detector, True, make_events(5000))
    assert {node.v for node in detector.modules() if isinstance(node, LIF)} == {0.0}


def test_an_empty_stretch_gives_answers_as_well(detector: Detector) -> None:
    late = make_events(10)
    _, ends = run(detector, False, Events(late.t + 200_000, late.x, late.y, late.p))
    assert len(ends) == 3


@pytest.mark.parametrize("frame_hw", [None, (24, 32), (60, 50)])
def test_a_stream_sees_what_the_data_set_showed(
    detector: Detector, tmp_path: Path, frame_hw: tuple[int, int] | None
) -> None:
    events = make_events(5000)
    np.save(tmp_path / "a.npy", np.stack([events.t, events.x, events.y, events.p], axis=1))
    record = plain_record(0, tmp_path / "a.npy", SENSOR_HW, np.empty((0, 4)), [], t_us=40_000)
    data = EventDataset(
        [record], ["a"], "a", representation=Counts(), steps=STEPS, window_us=WINDOW_US, frame_hw=frame_hw
    )
    shown = Letterbox((64, 64), fill=0)(data[0], lambda: data[0])
    kept, _ = run(detector, False, events, frame_hw)
    with torch.no_grad():
        alone = detector(shown.frames[:, None])
    for mine, other in zip(kept[1].maps, alone.maps, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("stateful", [False, True])
def test_boxes_of_scaled_frames_are_in_px_of_the_sensor(detector: Detector, stateful: bool) -> None:
    recording = LoadedRecording(Path("a.npy"), make_events(5000), SENSOR_HW)
    framing = Framing(Counts(), STEPS, WINDOW_US, (24, 32))
    stream = Stream(detector, Everything(), framing, Letterbox((64, 64), fill=0), stateful=stateful)
    for answer in stream.answers(recording, SENSOR_HW, stream.edges(0, 20_000)):
        assert answer.frames.shape[-2:] == (24, 32)
        # The frame, enlarged to 48x64 and padded by 8 px above and below, holds the sensor.
        height, width = SENSOR_HW
        torch.testing.assert_close(answer.detections.boxes_xyxy, torch.tensor([[0.0, 0.0, width, height]]))


class Everything:
    """Finds one box around all of the picture."""

    def __call__(self, head_maps: HeadMaps) -> list[Detections]:
        return [Detections(torch.tensor([[0.0, 8.0, 64.0, 56.0]]), torch.ones(1), torch.zeros(1, dtype=torch.int64))]
