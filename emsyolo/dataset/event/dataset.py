"""Labelled times of recordings: the data set that all event-camera formats become."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from emsyolo.dataset.event.augment import Change, EventTransform
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.framing import Framing, Representation
from emsyolo.dataset.event.recording import Recording, open_recording
from emsyolo.dataset.event.walk import Walk, walk
from emsyolo.dataset.images import ImageDataset, Record, targets_of
from emsyolo.text import shortlist
from emsyolo.types import Clip, Sample, Targets

log = logging.getLogger(__name__)
OPEN_RECORDINGS = 256  # kept open by one process; a memory map costs no memory, but a file handle


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
        return self.led_up(index, 0)

    def led_up(self, index: int, lead: int) -> Sample:
        """The sample with frames of what came before its window in front, as many as the recording has, at most `lead`.

        Raises:
            ValueError: as `dataset[index]`.
        """
        record = self.records[index]
        lead = min(lead, self._frames_before(record))
        events, window_us = self.events(index, lead)
        targets = targets_of(record)
        for transform in self.augment:
            change = transform.draw()
            events = change.events(events, window_us, record.size_hw)
            targets = change.boxes(targets, record.size_hw)
        rate = 1e6 * len(events) / (window_us[1] - window_us[0])
        steps = self.framing.steps + lead
        frames, scale_wh = self.framing.frames(events, *window_us, record.size_hw, steps)
        targets = _scaled(targets, scale_wh)
        return Sample(frames, targets, record.id, record.name, record.size_hw, scale_wh, event_rate=rate, lead=lead)

    @cached_property
    def walks(self) -> tuple[tuple[Walk, tuple[int, ...]], ...]:
        """The recordings in steps, each with the indices of its samples in the order of their times."""
        by_path: dict[Path, list[int]] = {}
        for index, record in enumerate(self.records):
            assert record.path is not None
            by_path.setdefault(record.path, []).append(index)
        found = []
        for indices in by_path.values():
            ordered = sorted(indices, key=self._time_us)
            recording = self.recording(self.records[ordered[0]])
            times_us = [self._time_us(index) for index in ordered]
            steps = walk(times_us, recording.first_us, recording.last_us + 1, self.framing.step_us)
            found.append((steps, tuple(ordered)))
        return tuple(found)

    def clip(self, number: int, first: int, length: int, changes: Sequence[Change] = ()) -> Clip:
        """Consecutive steps of a recording, with the samples whose labelled times lie within.

        Args:
            number: of the recording, in `walks`.
            first: step; those before the recording's first show nothing.
            length: steps.
            changes: of the events and boxes.

        Raises:
            ValueError: the recording is damaged there; names file and byte.
        """
        steps, indices = self.walks[number]
        edges = steps.edges(first, first + length)
        record = self.records[indices[0]]
        events = self.recording(record).window(edges[0], edges[-1])
        for change in changes:
            events = change.events(events, (edges[0], edges[-1]), record.size_hw)
        frames, scale_wh = self.framing.along(events, edges, record.size_hw)
        samples, ends = [], []
        for index, end in zip(indices, steps.ends, strict=True):
            if not first < end <= first + length:
                continue
            record = self.records[index]
            targets = targets_of(record)
            for change in changes:
                targets = change.boxes(targets, record.size_hw)
            frame = frames[end - first - 1 : end - first]
            samples.append(Sample(frame, _scaled(targets, scale_wh), record.id, record.name, record.size_hw, scale_wh))
            ends.append(end - first)
        return Clip(frames, tuple(samples), tuple(ends))

    def events(self, index: int, lead: int = 0) -> tuple[Events, tuple[int, int]]:
        """The events of a sample as recorded, and its window (start, end) in microseconds, longer by `lead` frames."""
        record = self.records[index]
        assert record.t_us is not None
        window_us = (record.t_us - self.framing.window_us - lead * self.framing.step_us, record.t_us)
        return self.recording(record).window(*window_us), window_us

    def recording(self, record: Record) -> Recording:
        """The recording of a record, which stays open."""
        assert record.path is not None
        return _opened(record.path, record.size_hw)

    def _time_us(self, index: int) -> int:
        t_us = self.records[index].t_us
        assert t_us is not None
        return t_us

    def _frames_before(self, record: Record) -> int:
        """Whole frames between the recording's first event and the window."""
        assert record.t_us is not None
        before_us = record.t_us - self.framing.window_us - self.recording(record).first_us
        return max(0, before_us // self.framing.step_us)


def _scaled(targets: Targets, scale_wh: tuple[float, float]) -> Targets:
    """The boxes in px of the frames."""
    if scale_wh == (1.0, 1.0):
        return targets
    return Targets(targets.boxes_xyxy * targets.boxes_xyxy.new_tensor(scale_wh * 2), targets.labels, targets.ignore)


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
