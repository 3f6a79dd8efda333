"""A stream of events on a page: what was seen and found at every time, to be played and wound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from emsyolo.report.gallery import LOWEST_SCORE, found_rows, truth_rows
from emsyolo.report.web import data_uri, image_of, webp, within
from emsyolo.types import Detections, Targets

MOST_FRAMES = 300
LEVELS = ((480, 70), (360, 55), (240, 40), (160, 25))  # longest side in px, quality
POINTS = 1500  # of the curve of events


@dataclass
class Film:
    """Collects the answers along one recording; pictures are kept as they stand in the page, within its limit.

    Args:
        name: of the recording.
        answers: how many there will be.
        hop_us: time between two of them, microseconds.
        sensor_hw: height and width of the sensor, px, in which boxes are.
        class_names: the labels' names, in order.
        score_threshold: boxes with a lower score are hidden at first.
        limit: bytes of all pictures.
    """

    name: str
    answers: int
    hop_us: int
    sensor_hw: tuple[int, int]
    class_names: Sequence[str]
    score_threshold: float
    limit: int = 1_400_000
    lowest: float = LOWEST_SCORE
    _seen: int = 0
    _frames: list[dict[str, Any]] = field(default_factory=list)
    _rates: list[tuple[float, float]] = field(default_factory=list)

    @property
    def stride(self) -> int:
        """Of so many answers one has a picture."""
        return max(1, -(-self.answers // MOST_FRAMES))

    def add(self, end_us: int, picture: Tensor, found: Detections, events: int, truth: Targets | None = None) -> None:
        """The next answer.

        Args:
            end_us: its time, microseconds.
            picture: `[3, H, W]` uint8, of the events that are new.
            found: px of the sensor.
            events: how many are new.
            truth: px of the sensor; None: nothing is known of this time.
        """
        self._rates.append((end_us / 1e6, events * 1e6 / self.hop_us))
        number, self._seen = self._seen, self._seen + 1
        if number % self.stride:
            return
        shown = -(-self.answers // self.stride)
        self._frames.append(
            {
                "t": round(end_us / 1e6, 4),
                "picture": _small(image_of(picture), self.limit // max(1, shown)),
                "found": found_rows(found, self.lowest),
                "truth": None if truth is None else truth_rows(truth),
            }
        )

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        skip = max(1, len(self._rates) // POINTS)
        return {
            "name": self.name,
            "w": self.sensor_hw[1],
            "h": self.sensor_hw[0],
            "hop": self.hop_us * self.stride / 1e6,
            "classes": list(self.class_names),
            "score": self.score_threshold,
            "frames": self._frames,
            "rate": [[round(t, 4), round(rate)] for t, rate in self._rates[::skip]],
        }

    @property
    def note(self) -> str:
        """What is shown of how much."""
        every = "every answer" if self.stride == 1 else f"one of {self.stride} answers"
        return f"{self.name}: {every} of {self._seen}, one per {self.hop_us / 1000:g} ms."


def _small(image: Image.Image, limit: int) -> str:
    """A picture for a page, within a limit of bytes as far as that goes."""
    uri = ""
    for side, quality in LEVELS:
        uri = data_uri(webp(within(image, side), quality))
        if len(uri) <= limit:
            break
    return uri
