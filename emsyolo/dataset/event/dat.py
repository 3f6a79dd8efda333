"""Prophesee's DAT files: read in place, with random access by time, and written."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from emsyolo.bar import bar
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.sensor import drop_beyond
from emsyolo.io import written_whole

log = logging.getLogger(__name__)

EVENT_BYTES = 8
EVENT_TYPES = (0, 12)  # Event2d and EventCD: the same eight bytes
COORDINATE_BITS, POLARITY_BIT = 14, 28
MAX_TIME_US = 2**32 - 1
CHUNK = 1 << 20  # events that `check` looks at between two moves of the progress bar
PROGRESS_FROM = 50 * CHUNK
NEIGHBOURS = 4  # events to both sides of a window's edges whose times are checked, too
PROBES = 64  # events whose times are checked when a file is opened


class DatRecording:
    """A DAT file, mapped into memory: a window is found by binary search and costs what its own events cost.

    The file: header lines that begin with `%`, a byte each for the type and the size of an event, then 8 bytes per
    event, little endian: uint32 time in microseconds; uint32 with x in bits 0-13, y in bits 14-27, polarity in bit 28.
    A few events beyond the sensor are left out, with a warning.

    Args:
        path: of the file.
        sensor_hw: height and width of the sensor, px, where the header does not say; None: coordinates are not checked.

    Attributes:
        path: of the file.
        sensor_hw: by the header, else as given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no header, events of another size; names file and byte. A file that ends in the middle of an event
            is used up to it, with a warning.
    """

    def __init__(self, path: Path, sensor_hw: tuple[int, int] | None = None) -> None:
        self.path = path
        size, offset = _header(path)
        self.sensor_hw = size or sensor_hw
        self._offset = offset
        count, rest = divmod(path.stat().st_size - offset, EVENT_BYTES)
        if rest:
            log.warning(
                "%s: ends in the middle of an event, at byte %d; the %d whole events before it are used",
                path, offset + count * EVENT_BYTES, count,
            )  # fmt: skip
        if count:
            words = np.memmap(path, dtype="<u4", mode="r", offset=offset, shape=(count, 2))
            self._words: NDArray[np.uint32] = words.view(np.ndarray)
        else:
            self._words = np.empty((0, 2), dtype=np.uint32)
        self._probe()

    def _probe(self) -> None:
        """Look at the time here and there: a clock that was reset or wrapped shows."""
        places = np.linspace(0, max(0, len(self) - 1), min(PROBES, len(self)), dtype=np.int64)
        times = self._words[places, 0].astype(np.int64)
        back = np.flatnonzero(np.diff(times) < 0)
        if len(back):
            i = int(back[0])
            raise ValueError(self._runs_back(int(places[i + 1]), int(times[i]), int(times[i + 1])))

    def __len__(self) -> int:
        return len(self._words)

    @property
    def first_us(self) -> int:
        """Time of the first event; 0 if there is none."""
        return int(self._words[0, 0]) if len(self) else 0

    @property
    def last_us(self) -> int:
        """Time of the last event; 0 if there is none."""
        return int(self._words[-1, 0]) if len(self) else 0

    def window(self, start_us: int, end_us: int) -> Events:
        """The events with `start_us <= t < end_us`.

        Raises:
            ValueError: time runs backwards or many events lie beyond the sensor; names file, event and byte.
        """
        begin, end = (_first_at(self._words, min(max(t, 0), MAX_TIME_US + 1)) for t in (start_us, end_us))
        # A damaged time misleads the search to its own neighbourhood.
        for edge in (begin, end):
            bad = _first_back(self._words, max(0, edge - NEIGHBOURS), min(len(self), edge + NEIGHBOURS))
            if bad >= 0:
                raise ValueError(self._complaint(bad))
        return self._decoded(begin, max(begin, end))

    def events(self) -> Events:
        """All events; raises as `window` does."""
        return self._decoded(0, len(self))

    def check(self) -> None:
        """Read the file through once; raises as `window` does."""
        starts = range(0, len(self), CHUNK)
        hidden = len(self) < PROGRESS_FROM
        for begin in bar(starts, f"checking {self.path.name}", hidden=hidden):
            # One event of overlap, so that times can be compared across the seam.
            self._decoded(max(0, begin - 1), min(begin + CHUNK, len(self)))

    def _decoded(self, begin: int, end: int) -> Events:
        count = end - begin
        events = Events(
            np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.uint8)
        )
        height, width = self.sensor_hw or (1 << COORDINATE_BITS, 1 << COORDINATE_BITS)
        back, beyond, kept = _decode(self._words, begin, end, events.t, events.x, events.y, events.p, height, width)
        if back >= 0:
            raise ValueError(self._complaint(back))
        if beyond < 0:
            return events
        drop_beyond(self.path, count - kept, count, self._complaint(beyond))
        return events.select(slice(kept))

    def _complaint(self, bad: int) -> str:
        t, word = (int(value) for value in self._words[bad])
        x, y = word & 0x3FFF, (word >> COORDINATE_BITS) & 0x3FFF
        before = int(self._words[bad - 1, 0]) if bad else t
        if t < before:
            return self._runs_back(bad, before, t)
        return f"{self._place(bad)}: x={x}, y={y} beyond the sensor of {self.sensor_hw} (height, width) px"

    def _runs_back(self, event: int, before_us: int, t_us: int) -> str:
        return (
            f"{self._place(event)}: time runs back from {before_us} to {t_us} us (or wraps); cut the file there or "
            "leave it out"
        )

    def _place(self, event: int) -> str:
        return f"{self.path}: event {event} (byte {self._offset + event * EVENT_BYTES})"


def _header(path: Path) -> tuple[tuple[int, int] | None, int]:
    """The sensor's height and width, if the header states them, and the byte at which the events begin."""
    sides: dict[str, int] = {}
    with path.open("rb") as file:
        lines = 0
        while file.peek(1)[:1] == b"%":
            fields = file.readline(4096).decode("latin-1").split()
            lines += 1
            if len(fields) >= 3 and fields[1] in ("Height", "Width"):
                sides[fields[1]] = int(fields[2]) if fields[2].isascii() and fields[2].isdigit() else 0
                if len(fields[2]) > 6 or sides[fields[1]] > 1 << COORDINATE_BITS:
                    raise ValueError(
                        f"{path}: header line {lines}: {fields[1]} {fields[2][:20]}; expected at most "
                        f"{1 << COORDINATE_BITS} px"
                    )
        offset = file.tell()
        kind = file.read(2)
    if not lines:
        raise ValueError(f"{path}: byte 0: no header line that begins with %; expected a Prophesee DAT file")
    if len(kind) < 2:
        raise ValueError(f"{path}: byte {offset}: ends after the header; expected the type and the size of an event")
    if kind[1] != EVENT_BYTES or kind[0] not in EVENT_TYPES:
        raise ValueError(
            f"{path}: byte {offset}: events of type {kind[0]} and {kind[1]} bytes; expected type 0 or 12 and 8 bytes"
        )
    size = (sides["Height"], sides["Width"]) if len(sides) == 2 and min(sides.values()) > 0 else None
    return size, offset + 2


@numba.njit(cache=True, nogil=True)
def _first_at(words: NDArray[np.uint32], t_us: int) -> int:
    """Number of the first event that is not before a time; that of events if all are."""
    low, high = 0, len(words)
    while low < high:
        middle = (low + high) // 2
        if np.int64(words[middle, 0]) < t_us:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _first_back(words: NDArray[np.uint32], begin: int, end: int) -> int:
    """Number of the first event that is earlier than the one before it; -1 if there is none."""
    for i in range(begin + 1, end):
        if words[i, 0] < words[i - 1, 0]:
            return i
    return -1


@numba.njit(cache=True, nogil=True)
def _decode(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    height: int,
    width: int,
) -> tuple[int, int, int]:
    """Fills the arrays with the events on the sensor.

    Gives the numbers of the first event that is out of order and of the first off the sensor, else -1, and how many
    were filled in.
    """
    before = np.int64(0)
    back, beyond, kept = -1, -1, 0
    for i in range(begin, end):
        time, word = np.int64(words[i, 0]), words[i, 1]
        column, row = word & 0x3FFF, (word >> COORDINATE_BITS) & 0x3FFF
        if back < 0 and time < before:
            back = i
        before = time
        if column >= width or row >= height:
            if beyond < 0:
                beyond = i
            continue
        t[kept] = time
        x[kept] = column
        y[kept] = row
        p[kept] = (word >> POLARITY_BIT) & 1
        kept += 1
    return back, beyond, kept


def write_dat(path: Path, events: Events, sensor_hw: tuple[int, int], date: datetime | None = None) -> None:
    """Write a DAT file, whole or not at all.

    Args:
        path: of the file.
        events: in the order of time, from 0 to 2^32 - 1 microseconds, within the sensor.
        sensor_hw: height and width, px; at most 2^14 each.
        date: of the header; None leaves it out, so that equal events give equal files.

    Raises:
        ValueError: events out of order, in time or place.
    """
    height, width = sensor_hw
    if len(events):
        if (np.diff(events.t) < 0).any() or events.t[0] < 0 or events.t[-1] > MAX_TIME_US:
            raise ValueError(f"{path}: expected times that ascend from 0 to {MAX_TIME_US} us")
        if int(events.x.max()) >= width or int(events.y.max()) >= height:
            raise ValueError(f"{path}: expected events within the sensor of {sensor_hw} (height, width) px")
    lines = ["Data file containing CD events.", "Version 2"]
    if date is not None:
        lines.append(f"Date {date:%Y-%m-%d %H:%M:%S}")
    lines += [f"Height {height}", f"Width {width}"]
    words = np.empty((len(events), 2), dtype="<u4")
    words[:, 0] = events.t
    words[:, 1] = (
        events.x.astype(np.uint32)
        | events.y.astype(np.uint32) << COORDINATE_BITS
        | events.p.astype(np.uint32) << POLARITY_BIT
    )
    with written_whole(path) as temporary:
        header = "".join(f"% {line}\n" for line in lines).encode()
        temporary.write_bytes(header + bytes((EVENT_TYPES[0], EVENT_BYTES)) + words.tobytes())
