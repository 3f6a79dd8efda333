"""Prophesee's EVT2 and EVT3 files, decoded by expelliarmus."""

from __future__ import annotations

import logging
import os
import re
from ctypes import byref, c_char_p, c_size_t
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from expelliarmus.wizard.clib import c_cargos_t, c_measure_fns, c_read_fns, event_t, events_cargo_t
from numpy.typing import NDArray

log = logging.getLogger(__name__)

LONGEST_LINE = 4096
BUFFER = 1 << 16  # events that expelliarmus decodes at a time
WORD_BYTES = {"evt2": 4, "evt3": 2}
EVT2_OFF, EVT2_ON, EVT2_TIME_HIGH = 0, 1, 8  # types of a word, its top four bits
NAMES = {"evt21": "EVT2.1", "evt4": "EVT4"}  # as Prophesee writes them
HOW_TO_CONVERT = "convert it once with Metavision's or OpenEB's tool: metavision_file_to_dat"
CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f]")
ENCODING = re.compile(r"(?:evt|format evt)\s*(\d{1,2})(?:\.(\d{1,2}))?", re.IGNORECASE)
SIZE = (
    re.compile(r"geometry\s+(?P<width>\d{1,5})\s*x\s*(?P<height>\d{1,5})", re.IGNORECASE),
    re.compile(r"format\b.*;\s*width=(?P<width>\d{1,5})\s*;\s*height=(?P<height>\d{1,5})", re.IGNORECASE),
    re.compile(r"format\b.*;\s*height=(?P<height>\d{1,5})\s*;\s*width=(?P<width>\d{1,5})", re.IGNORECASE),
)


@dataclass(frozen=True)
class _Header:
    """Attributes: `encoding`, evt2 or evt3; `size_hw` of the sensor, px, if it is said; `end`, the first data byte."""

    encoding: str
    size_hw: tuple[int, int] | None
    end: int


def read_evt(path: Path) -> tuple[Any, tuple[int, int] | None]:
    """The events of a `.raw` file, as an array with fields t, x, y and p, and the sensor's height and width if said.

    Of EVT3, expelliarmus's times run ahead by 4,096 us each time that their low part falls: a window may hold fewer
    events than were recorded in it.

    Raises:
        ValueError: no header, another encoding, no or damaged data; names the byte. A file that ends in the middle of a
            word is used up to it, with a warning.
    """
    header = _header(path)
    width = WORD_BYTES[header.encoding]
    words, rest = divmod(path.stat().st_size - header.end, width)
    if rest:
        byte = header.end + words * width
        log.warning("%s: ends in the middle of a word, at byte %d; what comes before is used", path, byte)
    if header.encoding == "evt2":
        _check_evt2(np.memmap(path, "<u4", "r", header.end, (words,)) if words else np.empty(0, "<u4"), header.end)
    return _decoded(path, header), header.size_hw


def _decoded(path: Path, header: _Header) -> NDArray[Any]:
    """Its C functions rather than its `Wizard`: that one looks for the end of the header by itself.

    It takes any line that begins with `%` for the header's, be it of data, and may not return.
    """
    file, buffer = c_char_p(os.fsencode(path)), c_size_t(BUFFER)
    cargo = c_cargos_t[header.encoding](events_info=events_cargo_t(start_byte=header.end))
    c_measure_fns[header.encoding](file, byref(cargo), buffer)
    events = np.zeros(cargo.events_info.dim, event_t)
    if len(events) and c_read_fns[header.encoding](file, events, byref(cargo), buffer):
        raise ValueError(f"damaged {header.encoding.upper()} data")
    return events


def _header(path: Path) -> _Header:
    """By Prophesee's description: lines that begin with `% `, the last of which may be `% end`."""
    lines = []
    end = 0
    with path.open("rb") as file:
        while (line := file.readline(LONGEST_LINE)).startswith((b"% ", b"%\n", b"%\r\n")):
            # The first data byte may be that of a percent sign, too.
            if not line.endswith(b"\n") or CONTROLS.search(line):
                break
            end = file.tell()
            lines.append(line[1:].decode("utf-8", "replace").strip())
            if lines[-1] == "end":
                break
    if not lines:
        raise ValueError("byte 0: no header line that begins with %; expected a Prophesee RAW file")
    found = next((match for line in lines if (match := ENCODING.match(line))), None)
    encoding = "" if found is None else f"evt{found[1]}" + (found[2] or "").strip("0")
    if encoding not in WORD_BYTES:
        said = f"names {NAMES.get(encoding, encoding.upper())}" if encoding else "names no encoding (% evt 3.0)"
        raise ValueError(f"its header {said}; expected EVT2 or EVT3; {HOW_TO_CONVERT} -i {path.name}")
    size = next((match for line in lines for pattern in SIZE if (match := pattern.match(line))), None)
    return _Header(encoding, None if size is None else (int(size["height"]), int(size["width"])), end)


def _check_evt2(words: NDArray[np.uint32], offset: int) -> None:
    """Refuse times that run back: expelliarmus writes a line of its own for each."""
    kind = words >> 28
    high = np.where(kind == EVT2_TIME_HIGH, words & 0x0FFFFFFF, 0).astype(np.int64)
    last = np.maximum.accumulate(np.where(kind == EVT2_TIME_HIGH, np.arange(len(words)), 0))
    of_events = np.flatnonzero((kind == EVT2_OFF) | (kind == EVT2_ON))
    times = (high[last[of_events]] << 6) | ((words[of_events] >> 22) & 0x3F)
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        at = int(back[0]) + 1
        byte = offset + int(of_events[at]) * WORD_BYTES["evt2"]
        raise ValueError(f"event {at} (byte {byte}): time runs back from {times[at - 1]} to {times[at]} us")
