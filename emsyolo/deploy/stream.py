"""A detector on a continuous stream of events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.datamodule import collate
from emsyolo.dataset.event.framing import Framing
from emsyolo.dataset.event.recording import Recording
from emsyolo.device import device_of
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.state import State
from emsyolo.types import Detections, HeadMaps, Sample, Targets


@dataclass(frozen=True)
class Answer:
    """What was found at one time of a stream.

    Attributes:
        end_us: time of the answer; the events before it are known.
        frames: `[T0, C, H, W]` of the events that are new since the last answer, as the framing makes them.
        detections: px of the sensor.
        events: number of new events.
        latency_s: from the events to the detections.
    """

    end_us: int
    frames: Tensor
    detections: Detections
    events: int
    latency_s: float


class Stream:
    """Detections from a recording as it would come from a camera.

    Stateless: the stream is cut into windows of the length that the detector was trained on, each computed from
    potentials of 0; one answer per window. Stateful: every step (a window's T-th part) is computed when it is over, the
    potentials are carried on from step to step and never reset; one answer per step, from the mean of the last T maps.

    Args:
        detector: on its device, in evaluation mode.
        postprocess: head maps to detections.
        framing: events to frames, as in training.
        fit: brings frames to the size of the network's input.
        stateful: carry the potentials on.
    """

    def __init__(
        self,
        detector: Detector,
        postprocess: Postprocess,
        framing: Framing,
        fit: Fit,
        *,
        stateful: bool,
    ) -> None:
        self.detector = detector
        self.postprocess = postprocess
        self.framing = framing
        self.fit = fit
        self.stateful = stateful

    @property
    def hop_us(self) -> int:
        """Time between two answers, microseconds."""
        return self.framing.window_us // self.framing.steps if self.stateful else self.framing.window_us

    def answers(self, recording: Recording, sensor_hw: tuple[int, int], start_us: int, end_us: int) -> Iterator[Answer]:
        """The answers for the events from start (included) to end (excluded), in the order of time."""
        steps = 1 if self.stateful else self.framing.steps
        recent: deque[HeadMaps] = deque(maxlen=self.framing.steps)
        trained_T = self.detector.T
        state: State | None = None
        try:
            if self.stateful and self.framing.steps > 1:
                self.detector.T = 1
            for start in range(start_us, end_us, self.hop_us):
                end = start + self.hop_us
                began = time.perf_counter()
                events = recording.window(start, end)
                frames, scale_wh = self.framing.frames(events, start, end, sensor_hw, steps)
                sample = self.fit(Sample(frames, Targets.none(), 0, "stream", sensor_hw, scale_wh))
                maps, after = self._run(sample, state)
                state = after if self.stateful else None
                recent.append(maps)
                (found,) = self.postprocess(_mean(recent) if self.stateful else maps)
                found = found.cpu().to_original(sample)
                yield Answer(end, frames, found, len(events), time.perf_counter() - began)
        finally:
            self.detector.T = trained_T

    @torch.inference_mode()
    def _run(self, sample: Sample, state: State | None) -> tuple[HeadMaps, State]:
        return self.detector.run(collate([sample]).frames.to(device_of(self.detector)), state)


def _mean(recent: deque[HeadMaps]) -> HeadMaps:
    """The maps averaged over the last steps, as the head does within a window."""
    levels = zip(*(maps.maps for maps in recent), strict=True)
    return replace(recent[-1], maps=tuple(torch.stack(level).mean(dim=0) for level in levels))
