"""What a recording may hold that its camera cannot have seen: places beyond the sensor, times in another unit."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BEYOND = 0.1  # share of the events read together; a recording of a larger sensor has more
FASTEST_PER_US = 20  # events, over a whole recording; sensors read out one or two, short samples of files have up to 11
LEAST_EVENTS = 1000  # from which a rate says something
_SAID: set[Path] = set()  # recordings of which this process has said it


def drop_beyond(path: Path, dropped: int, total: int, complaint: str) -> None:
    """Say that events beyond the sensor are left out: some recordings have a few (1 Mpx: x up to 1308 of 1280).

    Args:
        path: of the recording.
        dropped: events beyond the sensor.
        total: all that were read with them.
        complaint: which event is the first, and what is wrong with it.

    Raises:
        ValueError: more than a few; the recording is damaged, or of another sensor.
    """
    if dropped > MOST_BEYOND * total:
        raise ValueError(f"{complaint} ({dropped} of {total} events read here; expected a recording of that sensor)")
    if path not in _SAID:
        _SAID.add(path)
        log.warning("%s: events beyond the sensor are left out, here %d of %d", path, dropped, total)


def refuse_other_units(path: Path, count: int, span_us: int) -> None:
    """Refuse a recording whose times can hardly be microseconds.

    Raises:
        ValueError: more events per microsecond than any sensor reads out.
    """
    if count >= LEAST_EVENTS and count > FASTEST_PER_US * (span_us + 1):
        raise ValueError(
            f"{path}: {count} events within {span_us} us, more than any camera sends ({FASTEST_PER_US} per us); times "
            "in seconds or milliseconds? Multiply them by 1e6 or 1e3"
        )
