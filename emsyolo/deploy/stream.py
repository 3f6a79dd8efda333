"""A detector on a continuous stream of events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.collate import collate
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
    potentials of 0; one answer per window. Stateful: every step (what one frame shows) is computed when it is over, the
    state is carried on from step to step; one answer per step, from the mean of the maps of the last window.

    Args:
        detector: on its device, in evaluation mode.
        postprocess: head maps to detections.
        framing: events to frames, as in training.
        fit: brings frames to the size of the network's input.
        stateful: carry the state on.
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
        return self.framing.step_us if self.stateful else self.framing.window_us

    def edges(self, start_us: int, end_us: int) -> range:
        """Where the equally long shares of a recording begin and end, one for each answer; microseconds."""
        count = max(0, -(-(end_us - start_us) // self.hop_us))
        return range(start_us, start_us + count * self.hop_us + 1, self.hop_us)

    def answers(self, recording: Recording, sensor_hw: tuple[int, int], edges_us: Sequence[int]) -> Iterator[Answer]:
        """The answers along a recording, in the order of time.

        Args:
            recording: of the events.
            sensor_hw: height and width of the sensor, px.
            edges_us: where the events of one answer end and those of the next begin; one more than answers.
        """
        frames_each = 1 if self.stateful else self.framing.steps
        steps = self.detector.T * frames_each // self.framing.steps
        recent: deque[HeadMaps] = deque(maxlen=self.framing.steps)
        state: State | None = None
        for start, end in pairwise(edges_us):
            began = time.perf_counter()
            events = recording.window(start, end)
            frames, scale_wh = self.framing.frames(events, start, end, sensor_hw, frames_each)
            sample = self.fit(Sample(frames, Targets.none(), 0, "stream", sensor_hw, scale_wh))
            maps, after = self._run(sample, state, steps)
            state = after if self.stateful else None
            recent.append(maps)
            (found,) = self.postprocess(_mean(recent) if self.stateful else maps)
            found = found.to_original(sample)
            yield Answer(end, frames, found, len(events), time.perf_counter() - began)

    @torch.inference_mode()
    def _run(self, sample: Sample, state: State | None, steps: int) -> tuple[HeadMaps, State]:
        frames = collate([sample]).frames.to(device_of(self.detector))
        return self.detector.run(frames, state, steps=steps)


def _mean(recent: deque[HeadMaps]) -> HeadMaps:
    """The maps averaged over the last steps, as the head does within a window."""
    levels = zip(*(maps.maps for maps in recent), strict=True)
    return replace(recent[-1], maps=tuple(torch.stack(level).mean(dim=0) for level in levels))


def speed_of(answers: Sequence[Answer], hop_us: int) -> dict[str, Any]:
    """Latency, and whether 95 of 100 answers are there before the next is due; the first, which warms up, left out."""
    counted = answers[1:] or answers
    latencies = [answer.latency_s for answer in counted]
    p50, p95 = (np.percentile(latencies, [50, 95]) * 1000).tolist()
    return {
        "latency_ms": {"p50": p50, "p95": p95},
        "events_per_s": sum(answer.events for answer in counted) / sum(latencies),
        "hop_ms": hop_us / 1000,
        "real_time": p95 <= hop_us / 1000,
    }
