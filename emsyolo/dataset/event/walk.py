"""A recording in steps, as a stream shows it: every event once, and a step ends at every labelled time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Walk:
    """A recording cut into steps.

    Steps have the length that a network was trained on, except that those between two labelled times are stretched or
    shortened so that a whole number of them fits. Differs from RVT (Gehrig and Scaramuzza, CVPR 2023), whose steps show
    the 50 ms before their ends, so that the events between two steps that are further apart are never seen.

    Attributes:
        edges_us: `[S + 1]` int64, where steps begin and end, microseconds.
        ends: of each labelled time, in order, the number of steps up to it, at least 1.
        step_us: length of a step, as trained.
    """

    edges_us: NDArray[np.int64]
    ends: tuple[int, ...]
    step_us: int

    def __len__(self) -> int:
        return len(self.edges_us) - 1

    def edges(self, first: int, last: int) -> list[int]:
        """Where the steps `first` to `last - 1` begin and end; those beyond the recording are as long as trained."""
        return [self._edge(i) for i in range(first, last + 1)]

    def _edge(self, i: int) -> int:
        inside = min(max(i, 0), len(self))
        return int(self.edges_us[inside]) + (i - inside) * self.step_us


def walk(times_us: Sequence[int], start_us: int, end_us: int, step_us: int) -> Walk:
    """The steps of a recording.

    Args:
        times_us: labelled times, ascending. One that is nearer than half a step to the end of a step is answered there.
        start_us: of the recording.
        end_us: of the recording.
        step_us: length of a step, > 0.
    """
    if not times_us:
        count = max(1, -(-(end_us - start_us) // step_us))
        return Walk(start_us + step_us * np.arange(count + 1), (), step_us)
    lead = max(1, -(-(times_us[0] - start_us) // step_us))
    edges = [times_us[0] - step_us * i for i in range(lead, -1, -1)]
    ends = [lead]
    for time_us in times_us[1:]:
        apart = time_us - edges[-1]
        count = round(apart / step_us)
        edges += [edges[-1] + apart * i // count for i in range(1, count + 1)] if count else []
        ends.append(len(edges) - 1)
    rest = max(0, -(-(end_us - edges[-1]) // step_us))
    edges += [edges[-1] + step_us * i for i in range(1, rest + 1)]
    return Walk(np.array(edges, dtype=np.int64), tuple(ends), step_us)


@dataclass(frozen=True)
class Part:
    """Steps of a recording in which no two labelled times are far apart: what a stream of a training walks at a time.

    Attributes:
        recording: its number.
        first: the step that it begins with.
        last: the step before which it ends: that after the last labelled time.
    """

    recording: int
    first: int
    last: int


def parts(ends: Sequence[int], recording: int, length: int, max_gap: int) -> list[Part]:
    """A recording without the stretches in which nothing is labelled for long.

    Args:
        ends: as of a `Walk`.
        recording: its number.
        length: of a clip, steps; a part begins so many steps before its first labelled time, or where that before ends.
        max_gap: steps; where labelled times are further apart, a part ends and another begins.
    """
    cuts = [i for i in range(1, len(ends)) if ends[i] - ends[i - 1] > max_gap]
    found: list[Part] = []
    for begin, stop in zip([0, *cuts], [*cuts, len(ends)], strict=True):
        before = found[-1].last if found else 0
        found.append(Part(recording, max(before, ends[begin] - length), ends[stop - 1]))
    return found
