"""The contact sheets of a measurement: a choice of images, and those that were done best and worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from emsyolo.app.passes import ANN
from emsyolo.evaluator.per_image import image_f1
from emsyolo.report.events import pictures
from emsyolo.report.sheet import contact_sheet
from emsyolo.types import Batch, Detections, Targets


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        score_threshold: boxes below it are not drawn.
        sheet_images: on the contact sheet; of a converted network four at most, each at every T.
        extremes: how many of the best and of the worst images have sheets of their own.
        pictures: False: nothing is drawn.
    """

    score_threshold: float = 0.3
    sheet_images: int = 16
    extremes: int = 0
    pictures: bool = True


IMAGES_BY_TIME = 4


@dataclass(frozen=True)
class Look:
    """An image that is kept to be looked at again.

    Attributes:
        place: in the set.
        name: what it is called.
        frames: `[T0, C, H, W]`.
        truth: px of the frames.
        note: what is said of it.
    """

    place: int
    name: str
    frames: Tensor
    truth: Targets
    note: str = ""


class Choice:
    """Images spread over a set (the first may all be of one recording), with what was found on them.

    Args:
        length: of the set.
        drawing: what is drawn.
        by_time: draw every read-out beside the others, the ANN's last.
    """

    def __init__(self, length: int, drawing: Drawing, *, by_time: bool) -> None:
        count = min(drawing.sheet_images, length, IMAGES_BY_TIME if by_time else length)
        self._chosen = set(np.linspace(0, length - 1, count).round().astype(int).tolist())
        self._by_time = by_time
        self._drawing = drawing
        self._seen = 0
        self._rows: list[tuple[Tensor, list[Detections], Targets, str]] = []
        self._titles: list[str] = []
        self.looks: list[Look] = []  # for a page

    def add(self, batch: Batch, found: Mapping[int, Sequence[Detections]]) -> None:
        """Look at a batch, with what was found by read-out."""
        times = sorted(found, key=lambda t: t or max(found) + 1)  # the ANN last
        last = max(found)
        self._titles = ["ANN" if t == ANN else f"T = {t}" for t in times] if self._by_time else []
        for i in range(len(batch)):
            if self._seen + i in self._chosen:
                pages = pictures(batch.frames[:, i])
                detections = [found[t][i] for t in times] if self._by_time else [found[last][i]] * len(pages)
                name = batch.samples[i].name
                if self._drawing.extremes:
                    self.looks.append(Look(self._seen + i, name, batch.frames[:, i].clone(), batch.targets[i]))
                for page in pages[-1:] if self._by_time else pages:
                    self._rows.append((page, detections if self._by_time else detections[:1], batch.targets[i], name))
        self._seen += len(batch)

    def draw(self, out: Path, class_names: Sequence[str]) -> None:
        """Write `detections.png`."""
        contact_sheet(
            out / "detections.png",
            [page for page, found, _, _ in self._rows for _ in found],
            [detections for _, found, _, _ in self._rows for detections in found],
            [targets for _, found, targets, _ in self._rows for _ in found],
            class_names,
            score_threshold=self._drawing.score_threshold,
            columns=len(self._titles) or 4,
            titles=self._titles,
            names=[name if i == 0 else "" for _, found, _, name in self._rows for i in range(len(found))],
        )


@dataclass
class Extremes:
    """The images that were done best and worst, by F1.

    Attributes:
        drawing: how many of each; with 0 nothing is kept.
        ranked: score, place in the set, frames `[T0, C, H, W]`, what was found, truth and name; the worst first.
    """

    drawing: Drawing
    ranked: list[tuple[float, int, Tensor, Detections, Targets, str]] = field(default_factory=list)
    seen: int = 0

    def add(self, batch: Batch, found: Sequence[Detections]) -> None:
        """Look at the images of a batch; what is neither best nor worst is forgotten."""
        count = self.drawing.extremes
        for i, (one, truth) in enumerate(zip(found, batch.targets, strict=True) if count else ()):
            score = image_f1(one, truth, score_threshold=self.drawing.score_threshold)
            frames, name = batch.frames[:, i].clone(), batch.samples[i].name
            self.ranked.append((score, self.seen + i, frames, one, truth, name))
        self.seen += len(batch)
        self.ranked.sort(key=lambda row: row[:2])
        del self.ranked[count : max(count, len(self.ranked) - count)]

    @property
    def chosen(self) -> dict[str, list[tuple[float, int, Tensor, Detections, Targets, str]]]:
        """What is ranked, as `worst` and `best`, the most extreme first."""
        count = self.drawing.extremes
        return {"worst": self.ranked[:count], "best": self.ranked[::-1][:count]}

    def looks(self) -> dict[str, list[Look]]:
        """The images by `worst` and `best`."""
        return {
            name: [
                Look(place, shown, frames, truth, f"F1 {score:.2f}") for score, place, frames, _, truth, shown in rows
            ]
            for name, rows in self.chosen.items()
        }

    def draw(self, out: Path, class_names: Sequence[str]) -> None:
        """Write `worst.png` and `best.png`, where there are any."""
        for name, rows in self.chosen.items():
            pages = [
                (page, found, truth, f"F1 {score:.2f}  {shown}")
                for score, _, frames, found, truth, shown in rows
                for page in pictures(frames)
            ]
            if pages:
                images, detections, truths, names = zip(*pages, strict=True)
                contact_sheet(
                    out / f"{name}.png", images, detections, truths, class_names,
                    score_threshold=self.drawing.score_threshold, names=names,
                )  # fmt: skip
