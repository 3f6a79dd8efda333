"""Events in HDF5 files, `events/{x,y,p,t}`, as DSEC, eTraM and RVT's copy of 1 Mpx have them: random access by time."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np
from numpy.typing import NDArray

from emsyolo.bar import bar
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.hdf5_file import OpenFile, reading
from emsyolo.dataset.event.npy import MAX_TIME_US, read_npy
from emsyolo.dataset.event.sensor import drop_beyond
from emsyolo.io import written_whole

log = logging.getLogger(__name__)

COLUMNS = ("t", "x", "y", "p")
BLOCK = 1 << 16  # events that are decoded together, rounded to whole chunks of the file
MAX_SIDE = 1 << 16
DECODED_BYTES = 96 << 20  # decoded blocks that a process keeps, of all recordings together
PROGRESS_FROM = 800  # blocks
VERSION = 1  # of the index of times in the cache
ECF = (
    "Prophesee's HDF5 (/CD/events, filter 36559), whose ECF codec is not read here; convert it once with Metavision's "
    "or OpenEB's tool: metavision_file_to_dat -i"
)


class _Decoded:
    """The blocks that were decoded last, up to so many bytes: windows that lie near each other share them."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._blocks: OrderedDict[tuple[int, str, int], NDArray[Any]] = OrderedDict()

    def get(self, key: tuple[int, str, int], decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """A block by recording, column and number."""
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
            return block
        block = decode()
        self._blocks[key] = block
        self._bytes += block.nbytes
        while self._bytes > self._most and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1].nbytes
        return block

    def clear(self) -> None:
        """Forget all of them."""
        self._blocks.clear()
        self._bytes = 0


_DECODED = _Decoded(DECODED_BYTES)
_NUMBERS = itertools.count()


class Hdf5Recording:
    """A recording in an HDF5 file: only the blocks that hold a window are read and decoded.

    The file: `events/x`, `y`, `p`, `t`, one number each per event; p above 0 is on. Optional, in `events` or beside it:
    `t_offset`, microseconds to be added to every t; `ms_to_idx`, number of the first event at or after each
    millisecond of t; `height` and `width` of the sensor.

    Times that run back are raised to the latest before them, as RVT does (Gehrig and Scaramuzza, CVPR 2023). Without
    `ms_to_idx` the times are read once, when the first window is asked for, and the latest of every block is kept in
    the user's cache. A few events beyond the sensor are left out, with a warning.

    Args:
        path: of the file.
        sensor_hw: height and width of the sensor, px, where the file does not say; None: coordinates are not checked.

    Attributes:
        path: of the file.
        sensor_hw: by the file, else as given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or damaged, or Prophesee's ECF codec; names the file.
    """

    def __init__(self, path: Path, sensor_hw: tuple[int, int] | None = None) -> None:
        self.path = path
        self._file = OpenFile(path)
        self._number = next(_NUMBERS)
        self._ends_us: NDArray[np.int64] | None = None
        with reading(path):
            file = self._file()
            if "events" not in file and "CD" in file:
                raise ValueError(f"{ECF} {path.name}")
            if not isinstance(file.get("events"), h5py.Group):
                raise ValueError(f"no group events; has {', '.join(file) or 'nothing'}; expected events/x, y, p and t")
            self._count, self._lengths = self._measured()
            size = [self._scalar(side) for side in ("height", "width")]
            self.sensor_hw = sensor_hw if None in size else (size[0] or 0, size[1] or 0)
            if self.sensor_hw is not None and not all(1 <= side <= MAX_SIDE for side in self.sensor_hw):
                raise ValueError(f"height and width are {size}; expected px, 1 to {MAX_SIDE}")
            self._offset_us = self._scalar("t_offset") or 0
            if abs(self._offset_us) > MAX_TIME_US:
                raise ValueError(f"t_offset is {self._offset_us}; expected microseconds")
            self._milliseconds = self._listed_milliseconds()
            self._first_us, self._last_us = self._span()

    def _measured(self) -> tuple[int, dict[str, int]]:
        """Number of events, and of those in a block of each column."""
        count, lengths = -1, {}
        for name in COLUMNS:
            column = self._file.dataset(f"events/{name}")
            if column.ndim != 1 or column.dtype.kind not in ("iub" if name == "p" else "iu"):
                hint = "; times in seconds? Multiply them by 1e6" if name == "t" else ""
                raise ValueError(
                    f"events/{name} is {column.dtype} {column.shape}; expected a whole number for each event{hint}"
                )
            if count not in (-1, len(column)):
                raise ValueError(f"events/{name} has {len(column)} numbers, events/t {count}; expected equally many")
            count = len(column)
            chunk = column.chunks[0] if column.chunks else 1
            lengths[name] = chunk * max(1, BLOCK // chunk)
        return count, lengths

    def _scalar(self, name: str) -> int | None:
        """A whole number in `events` or beside it; None if there is none."""
        for place in (f"events/{name}", name):
            if place in self._file():
                value = np.asarray(self._file.dataset(place)[()])
                if value.size != 1 or value.dtype.kind not in "iuf" or value.item() != int(value.item()):
                    raise ValueError(f"{place} is {value.dtype} {value.shape}; expected one whole number")
                return int(value.item())
        return None

    def _listed_milliseconds(self) -> int:
        """How many milliseconds `ms_to_idx` lists; 0 if there is none."""
        place = next((one for one in ("ms_to_idx", "events/ms_to_idx") if one in self._file()), None)
        if place is None:
            return 0
        column = self._file.dataset(place)
        if column.ndim != 1 or column.dtype.kind not in "iu":
            raise ValueError(f"{place} is {column.dtype} {column.shape}; expected the number of an event for each ms")
        self._ms_place = place
        chunk = column.chunks[0] if column.chunks else 1
        self._lengths["ms"] = chunk * max(1, BLOCK // chunk)
        return len(column)

    def _span(self) -> tuple[int, int]:
        """Times of the first event, and the latest of the last block."""
        if not self._count:
            return 0, 0
        first = int(self._read("t", 0, 1)[0])
        last = self._read("t", (self._count - 1) // self._lengths["t"] * self._lengths["t"], self._count)
        latest = max(first, int(last.max()))
        if not -MAX_TIME_US <= first <= latest <= MAX_TIME_US:
            raise ValueError(f"times from {first} to {latest} us; expected at most {MAX_TIME_US}")
        return first + self._offset_us, latest + self._offset_us

    def __len__(self) -> int:
        return self._count

    @property
    def first_us(self) -> int:
        """Time of the first event; 0 if there is none."""
        return self._first_us

    @property
    def last_us(self) -> int:
        """Time of the last event; 0 if there is none."""
        return self._last_us

    def window(self, start_us: int, end_us: int) -> Events:
        """The events with `start_us <= t < end_us`.

        Raises:
            ValueError: damaged data, or many events beyond the sensor; names the file and, of values, the event.
        """
        with reading(self.path):
            begin, end = (self._first_at(t - self._offset_us) for t in (start_us, end_us))
            return self._decoded(begin, max(begin, end))

    def events(self) -> Events:
        """All events; raises as `window` does."""
        with reading(self.path):
            return self._decoded(0, self._count)

    def check(self) -> None:
        """Read the file through once; raises as `window` does."""
        starts = range(0, self._count, BLOCK)
        hidden = len(starts) < PROGRESS_FROM
        for begin in bar(starts, f"checking {self.path.name}", hidden=hidden):
            with reading(self.path):
                self._decoded(begin, min(begin + BLOCK, self._count))

    def _decoded(self, begin: int, end: int) -> Events:
        """Events by number; times that run back are raised within them."""
        count = end - begin
        out = (np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16))
        events = Events(*out, np.empty(count, np.uint8))
        height, width = self.sensor_hw or (MAX_SIDE, MAX_SIDE)
        kept, latest, complaint = 0, -MAX_TIME_US - 1, ""
        length = max(self._lengths[name] for name in COLUMNS)  # by whole blocks, which are not put together first
        for start in range(begin // length * length, end, length):
            first, last = max(start, begin), min(start + length, end)
            t, x, y, p = (self._read(name, first, last) for name in COLUMNS)
            odd, beyond, kept, latest = _fill(
                t, x, y, p, self._offset_us, height, width, latest, kept, events.t, events.x, events.y, events.p
            )
            if odd >= 0:
                found = f"event {first + odd}: t={t[odd]}, p={p[odd]}"
                raise ValueError(f"{found}; expected microseconds below {MAX_TIME_US}, and p -1, 0 or 1")
            if beyond >= 0 and not complaint:
                place = f"event {first + beyond}: x={x[beyond]}, y={y[beyond]}"
                complaint = f"{place} beyond the sensor of {self.sensor_hw} (height, width) px"
        if kept == count:
            return events
        drop_beyond(self.path, count - kept, count, complaint)
        return events.select(slice(kept))

    def _read(self, name: str, begin: int, end: int) -> NDArray[Any]:
        """Numbers of a column."""
        length = self._lengths[name]
        parts = [
            self._block(name, number)[max(0, begin - number * length) : end - number * length]
            for number in range(begin // length, -(-end // length))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, np.int64)])

    def _block(self, name: str, number: int) -> NDArray[Any]:
        def decode() -> NDArray[Any]:
            place = self._ms_place if name == "ms" else f"events/{name}"
            found = self._file.part(place, number * length, (number + 1) * length)
            return found.view(np.uint8) if found.dtype == bool else found

        length = self._lengths[name]
        return _DECODED.get((self._number, name, number), decode)

    def _first_at(self, t_us: int) -> int:
        """Number of the first event that is not before a time of the file's clock; that of events if all are."""
        if self._milliseconds:
            return self._first_by_milliseconds(t_us)
        if self._ends_us is None:
            self._ends_us = self._latest_by_block()
        block = int(np.searchsorted(self._ends_us, t_us))
        if block == len(self._ends_us):
            return self._count
        return self._first_between(block * self._lengths["t"], (block + 1) * self._lengths["t"], t_us)

    def _first_by_milliseconds(self, t_us: int) -> int:
        ms = min(max(t_us // 1000, 0), self._milliseconds - 1)
        listed = self._read("ms", ms, min(ms + 2, self._milliseconds)).tolist()
        low, high = int(listed[0]), int(listed[1]) if len(listed) == 2 else self._count
        if not 0 <= low <= high <= self._count:
            raise ValueError(
                f"{self._ms_place}[{ms}] is {low}, the next {high}; expected numbers of the {self._count} events"
            )
        found = self._first_between(max(low - 1, 0), high + 1, t_us)
        # An event before or behind the millisecond's own shows that the list is of other times.
        if (found < low and t_us >= 0) or found > high:
            raise ValueError(f"{self._ms_place}[{ms}] does not fit the times of the events; leave the file out")
        return found

    def _first_between(self, begin: int, end: int, t_us: int) -> int:
        """Number of the first event that is not before a time, of these; `end`, or that of events, if all are."""
        end = min(end, self._count)
        return begin + _first_reaching(self._read("t", begin, end), t_us)

    def _latest_by_block(self) -> NDArray[np.int64]:
        """The latest time up to the end of every block of t: read once, then remembered in the user's cache."""
        blocks = -(-self._count // self._lengths["t"])
        status = self.path.stat()
        stamp = [VERSION, status.st_size, status.st_mtime_ns, self._lengths["t"], blocks]
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()[:24]
        file = place / "emsyolo" / "times" / f"{digest}.npy"
        try:
            kept = read_npy(file)
            if kept.dtype == np.int64 and kept.shape == (len(stamp) + blocks,) and kept[: len(stamp)].tolist() == stamp:
                return kept[len(stamp) :]
        except (OSError, ValueError):
            pass  # nothing remembered, or damaged: read again
        latest = np.empty(blocks, np.int64)
        hidden = blocks < PROGRESS_FROM
        length = self._lengths["t"]
        for i in bar(range(blocks), f"times of {self.path.name}", hidden=hidden):
            latest[i] = int(self._read("t", i * length, min((i + 1) * length, self._count)).max())
        latest = np.maximum.accumulate(latest)
        try:
            with written_whole(file) as temporary, temporary.open("wb") as out:
                np.save(out, np.concatenate([np.array(stamp, np.int64), latest]), allow_pickle=False)
        except OSError as error:
            log.info("%s; the times of %s are read again next time", error, self.path.name)
        return latest


@numba.njit(cache=True, nogil=True)
def _first_reaching(t: NDArray[Any], t_us: int) -> int:
    """Place of the first time that is not before another: the same whether times that run back are raised or not."""
    for i in range(len(t)):
        if np.int64(t[i]) >= t_us:
            return i
    return len(t)


@numba.njit(cache=True, nogil=True)
def _fill(
    t: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    offset: int,
    height: int,
    width: int,
    latest: int,
    kept: int,
    out_t: NDArray[np.int64],
    out_x: NDArray[np.uint16],
    out_y: NDArray[np.uint16],
    out_p: NDArray[np.uint8],
) -> tuple[int, int, int, int]:
    """Goes on to fill the arrays, which hold `kept` events up to the time `latest`, with the events on the sensor.

    Gives the numbers of the first event whose time or polarity cannot be, and of the first off the sensor, else -1; how
    many are in the arrays now, and the latest time.
    """
    odd, beyond = -1, -1
    for i in range(len(t)):
        time, column, row, polarity = np.int64(t[i]), np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        if odd < 0 and (polarity < -1 or polarity > 1 or time > MAX_TIME_US or time < -MAX_TIME_US):
            odd = i
        if time > latest:
            latest = int(time)
        if column < 0 or row < 0 or column >= width or row >= height:
            if beyond < 0:
                beyond = i
            continue
        out_t[kept] = latest + offset
        out_x[kept] = column
        out_y[kept] = row
        out_p[kept] = 1 if polarity > 0 else 0
        kept += 1
    return odd, beyond, kept, latest
