"""Labelled times of recordings: the data set that all event-camera formats become."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.framing import Framing, Representation
from emsyolo.dataset.event.recording import Recording, open_recording
from emsyolo.dataset.images import ImageDataset, Record, targets_of
from emsyolo.text import shortlist
from emsyolo.types import Sample, Targets

log = logging.getLogger(__name__)
OPEN_RECORDINGS = 256  # kept open by one process; a memory map costs no memory, but a file handle


class EventTransform(Protocol):
    """A random change to the events of a window and to its boxes."""

    def __call__(
        self, events: Events, targets: Targets, window_us: tuple[int, int], sensor_hw: tuple[int, int]
    ) -> tuple[Events, Targets]:
        """Changed events and boxes; the arguments are left untouched."""
        ...


class EventDataset(ImageDataset):
    """Windows of events that end at a labelled time, as frames.

    Args:
        records: one per labelled time, with `path` (of the recording) and `t_us`.
        class_names: the label is the index.
        name: what messages call the set.
        representation: events to frames.
        steps: time steps T0 of the frames; the network's T, or 1.
        window_us: length of a window, microseconds.
        frame_hw: coordinates are scaled from the sensor to this size before framing; None: frames of the sensor's size.
        augment: name to transform of events, applied in this order before framing; None leaves one out.

    Raises:
        ValueError: a window shorter than 1 us per step.
    """

    def __init__(
        self,
        records: Sequence[Record],
        class_names: Sequence[str],
        name: str,
        *,
        representation: Representation,
        steps: int,
        window_us: int,
        frame_hw: Sequence[int] | None = None,
        augment: Mapping[str, EventTransform | None] | None = None,
    ) -> None:
        framing = Framing(representation, steps, window_us, frame_hw)
        super().__init__(records, class_names, name)
        self.framing = framing
        self.augment = tuple(value for value in (augment or {}).values() if value is not None)

    @property
    def channels(self) -> int:
        """C of a sample's frames."""
        return self.framing.representation.channels

    def __getitem__(self, index: int) -> Sample:
        """The sample: frames `[T0, C, H, W]`, boxes in their px.

        Raises:
            ValueError: the recording is damaged in this window; names file and byte.
        """
        record = self.records[index]
        events, window_us = self.events(index)
        targets = targets_of(record)
        for transform in self.augment:
            events, targets = transform(events, targets, window_us, record.size_hw)
        rate = 1e6 * len(events) / self.framing.window_us
        frames, scale_wh = self.framing.frames(events, *window_us, record.size_hw)
        if scale_wh != (1.0, 1.0):
            boxes = targets.boxes_xyxy * targets.boxes_xyxy.new_tensor(scale_wh * 2)
            targets = Targets(boxes, targets.labels, targets.ignore)
        return Sample(frames, targets, record.id, record.name, record.size_hw, scale_wh, event_rate=rate)

    def events(self, index: int) -> tuple[Events, tuple[int, int]]:
        """The events of a sample as recorded, and its window (start, end) in microseconds."""
        record = self.records[index]
        assert record.path is not None
        assert record.t_us is not None
        window_us = (record.t_us - self.framing.window_us, record.t_us)
        return _opened(record.path, record.size_hw).window(*window_us), window_us


def report_times_outside(
    records: Sequence[Record], spans: Mapping[Path, tuple[int, int]], window_us: int, name: str
) -> None:
    """Say which labelled times lie outside their recordings, where no event can be.

    Args:
        records: with `path` and `t_us`.
        spans: of every recording, times of the first and the last event, microseconds.
        window_us: length of a window, microseconds.
        name: of the data set.

    Raises:
        ValueError: more than half do; the times are likely to be in another unit, or of another clock.
    """
    outside = []
    for record in records:
        assert record.path is not None
        assert record.t_us is not None
        first_us, last_us = spans[record.path]
        if record.t_us <= first_us or record.t_us - window_us > last_us:
            outside.append(
                f"{record.path.name} has events from {first_us} to {last_us} us, and boxes at {record.t_us} us"
            )
    if not outside:
        return
    what = f"{len(outside)} of {len(records)} labelled times lie outside their recordings"
    if len(outside) > len(records) / 2:
        raise ValueError(f"{name}: {what}: {outside[0]}; expected times of the recording's clock, in microseconds")
    log.warning("%s: %s: %s", name, what, shortlist(outside))


@lru_cache(maxsize=OPEN_RECORDINGS)
def _opened(path: Path, sensor_hw: tuple[int, int]) -> Recording:
    return open_recording(path, sensor_hw)
