"""Images on a page, with what a network found and where it fired after each number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from emsyolo.report.style import PALETTE
from emsyolo.report.web import data_uri, fitting, image_of, webp
from emsyolo.types import Detections, Targets

LOWEST_SCORE = 0.05  # of the boxes on a page
MOST_BOXES = 60  # on one picture
HEAT = matplotlib.colormaps["inferno"]
HEAT_QUALITY = 60
HEAT_SHARE = 0.35  # of the bytes of a gallery, at most


@dataclass(frozen=True)
class Tile:
    """One image.

    Attributes:
        name: what it is called.
        pictures: `[3, H, W]` uint8; one, or one for each stop.
        truth: in px of the pictures.
        found: by stop, in px of the pictures.
        firing: by stop and layer, `[h, w]`, spikes per neuron and step; empty where nothing is known.
    """

    name: str
    pictures: Sequence[Tensor]
    truth: Targets
    found: Sequence[Detections]
    firing: Sequence[Mapping[str, Tensor]] = ()


@dataclass(frozen=True)
class Sheet:
    """Some of the images.

    Attributes:
        key: a word for links.
        title: heading.
        note: below it.
        tiles: key of each image and what is said of it.
    """

    key: str
    title: str
    note: str
    tiles: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Gallery:
    """All images of a page, which several sheets may show.

    Attributes:
        stops: what the slider says: numbers of steps, or `ANN`.
        tiles: by key.
        sheets: in order.
        class_names: the labels' names, in order.
        score_threshold: boxes with a lower score are hidden at first.
    """

    stops: Sequence[str]
    tiles: Mapping[int, Tile]
    sheets: Sequence[Sheet]
    class_names: Sequence[str]
    score_threshold: float
    left_out: list[str] = field(default_factory=list)

    def data(self, limit: int) -> dict[str, Any]:
        """What the page's script reads, its pictures within a limit of bytes; what has no room is named in `left_out`.

        Args:
            limit: bytes.
        """
        keys = list(dict.fromkeys(key for sheet in self.sheets for key, _ in sheet.tiles))
        layers = self._layers()
        heat = self._heat(keys, layers)
        if sum(map(len, heat.values())) > limit * HEAT_SHARE:
            self.left_out.append("where the neurons fire")
            heat, layers = {}, {}
        flat = [(key, i) for key in keys for i in range(len(self.tiles[key].pictures))]
        uris, side = fitting(
            [image_of(self.tiles[key].pictures[i]) for key, i in flat], limit - sum(map(len, heat.values()))
        )
        shown: dict[int, list[str]] = {}
        for (key, _), uri in zip(flat, uris, strict=False):
            shown.setdefault(key, []).append(uri)
        shown = {key: uris for key, uris in shown.items() if len(uris) == len(self.tiles[key].pictures)}
        if len(shown) < len(keys):
            self.left_out.append(f"{len(keys) - len(shown)} of {len(keys)} images")
        if side < max((max(tile.pictures[0].shape[1:]) for tile in self.tiles.values()), default=0):
            self.left_out.append(f"pixels: images are shrunk to {side} px")
        return {
            "stops": list(self.stops),
            "classes": list(self.class_names),
            "palette": list(PALETTE),
            "score": self.score_threshold,
            "layers": [{"name": name, "most": most} for name, most in layers.items()],
            "tiles": {str(key): self._tile(key, shown[key], heat.get(key)) for key in shown},
            "sheets": [
                {"key": sheet.key, "title": sheet.title, "note": sheet.note,
                 "tiles": [[str(key), note] for key, note in sheet.tiles if key in shown]}
                for sheet in self.sheets
            ],
        }  # fmt: skip

    def _layers(self) -> dict[str, float]:
        """The largest value of each layer on any image, the top of its scale."""
        most: dict[str, float] = {}
        for tile in self.tiles.values():
            for stop in tile.firing:
                for name, values in stop.items():
                    most[name] = max(most.get(name, 0.0), float(values.max()))
        return most

    def _heat(self, keys: Sequence[int], layers: Mapping[str, float]) -> dict[int, str]:
        """By image one picture of all its maps: a column for each stop, a row for each layer."""
        found = {}
        for key in keys:
            firing = self.tiles[key].firing
            if not layers or not firing:
                continue
            rows = [
                np.concatenate([stop[name].numpy() / (layers[name] or 1.0) for stop in firing], axis=1)
                for name in layers
            ]
            colours = (HEAT(np.concatenate(rows))[..., :3] * 255).round().astype(np.uint8)
            found[key] = data_uri(webp(Image.fromarray(colours), HEAT_QUALITY))
        return found

    def _tile(self, key: int, uris: list[str], heat: str | None) -> dict[str, Any]:
        tile = self.tiles[key]
        height, width = tile.pictures[0].shape[1:]
        return {
            "name": tile.name,
            "w": width,
            "h": height,
            "pictures": uris,
            "heat": heat,
            "columns": len(tile.firing),
            "truth": truth_rows(tile.truth),
            "found": [found_rows(found) for found in tile.found],
        }


def found_rows(found: Detections, lowest: float = LOWEST_SCORE) -> list[list[float]]:
    """Boxes as the page's script reads them, the best: x0, y0, x1, y1, label, score."""
    rows = zip(found.boxes_xyxy.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    sure = sorted((row for row in rows if row[2] >= lowest), key=lambda row: -row[2])[:MOST_BOXES]
    # Rounded down: a score is not to pass a threshold that it does not reach.
    return [[*(round(v, 1) for v in box), label, math.floor(score * 1000) / 1000] for box, label, score in sure]


def truth_rows(truth: Targets) -> list[list[float]]:
    """True boxes as the page's script reads them: x0, y0, x1, y1, label, 1 if it is ignored."""
    rows = zip(truth.boxes_xyxy.tolist(), truth.labels.tolist(), truth.ignore.tolist(), strict=True)
    return [[*(round(v, 1) for v in box), label, int(ignore)] for box, label, ignore in rows]
