"""What is wrong with a data set's files, found once, when the set is opened, and said in one line per kind."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from emsyolo.dataset.images import Record
from emsyolo.text import shortlist

Item = TypeVar("Item")

log = logging.getLogger(__name__)

TOLERANCE_PX = 0.5  # annotation files round coordinates; overshoot up to this is clipped without a warning


def report_left_out(reasons: Mapping[Path, str], total: int, name: str) -> None:
    """One warning with the files that are left out of a data set, and why; none if there are none."""
    if reasons:
        listed = shortlist(f"{path.name} ({reason})" for path, reason in reasons.items())
        log.warning("%s: %d of %d images left out: %s", name, len(reasons), total, listed)


class Ledger:
    """What was odd in a data set while it was read; said in one line per kind when all is read.

    Args:
        name: what messages call the data set.
        max_bad: share of the annotations (or images) that may be left out before the set is refused.
        of: what is counted: annotations or images.

    Raises:
        ValueError: a share outside 0 to 1.
    """

    def __init__(self, name: str, max_bad: float, of: str = "annotations") -> None:
        if not 0 <= max_bad <= 1:
            raise ValueError(f"dataset.max_bad={max_bad}: expected a share from 0 to 1")
        self._name = name
        self._max_bad = max_bad
        self._of = of
        self._left_out: list[tuple[str, str]] = []
        self._noted: dict[str, list[str]] = {}

    @property
    def left_out(self) -> int:
        """How many cannot be used."""
        return len(self._left_out)

    def leave_out(self, place: str, reason: str) -> None:
        """Something that cannot be used, with its place: a file, or a file and a line."""
        self._left_out.append((place, reason))

    def note(self, kind: str, file: Path) -> None:
        """Something in a file that was read in a way that the user must know."""
        self._noted.setdefault(kind, []).append(file.name)

    def close(self, total: int) -> None:
        """Say all of it.

        Args:
            total: how many there were, those left out among them.

        Raises:
            ValueError: all are left out, or more than the share and more than one; names the first.
        """
        for kind, files in self._noted.items():
            log.warning("%s: %d %s: %s", self._name, len(files), kind, shortlist(dict.fromkeys(files)))
        bad = len(self._left_out)
        if not bad:
            return
        if bad >= total or bad > max(1, self._max_bad * total):
            place, reason = self._left_out[0]
            raise ValueError(
                f"{place}: {reason} ({bad} of the {total} {self._of} of {self._name} cannot be used; "
                f"dataset.max_bad={self._max_bad:g} is the share that may be left out)"
            )
        listed = shortlist(f"{Path(place).name}: {reason}" for place, reason in self._left_out)
        log.warning("%s: %d of %d %s left out: %s", self._name, bad, total, self._of, listed)


def clean_boxes(records: Sequence[Record], name: str) -> list[Record]:
    """The records with every box inside its image.

    Boxes that reach outside are clipped; those of no, negative or undefined size, and those that lie outside, are
    dropped. One warning for each of the two says how many and in which files; less than half a pixel is not reported.
    A data set without any box is used, with a warning.
    """
    counts = [len(record.boxes_xyxy) for record in records]
    if not sum(counts):
        if records:
            log.warning("%s: no box in any of %d images", name, len(records))
        return list(records)
    before = np.concatenate([record.boxes_xyxy for record in records])
    sizes = np.repeat([record.size_hw[::-1] for record in records], counts, axis=0)
    boxes = np.clip(before, 0, np.tile(sizes, 2))
    keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # a NaN compares as False
    outside = (np.abs(boxes - before) > TOLERANCE_PX).any(axis=1) & keep
    moved = (boxes != before).any(axis=1)
    cleaned = list(records)
    clipped, dropped = {}, {}
    start = 0
    for i, (record, count) in enumerate(zip(records, counts, strict=True)):
        mine = slice(start, start + count)
        start += count
        if not moved[mine].any() and keep[mine].all():
            continue
        if outside[mine].any():
            clipped[record.name] = int(outside[mine].sum())
        if not keep[mine].all():
            dropped[record.name] = int((~keep[mine]).sum())
        area = (boxes[mine, 2:] - boxes[mine, :2]).prod(axis=1)
        kept = keep[mine]
        cleaned[i] = replace(
            record,
            boxes_xyxy=boxes[mine][kept],
            labels=record.labels[kept],
            crowd=record.crowd[kept],
            difficult=record.difficult[kept],
            area=np.where(moved[mine], np.minimum(area, record.area), record.area)[kept],
        )
    if clipped:
        names = shortlist(clipped)
        log.warning("%s: %d boxes reach outside their image and are clipped: %s", name, sum(clipped.values()), names)
    if dropped:
        names = shortlist(dropped)
        log.warning("%s: %d boxes without any area left out: %s", name, sum(dropped.values()), names)
    return cleaned


def refuse_shares(records: Sequence[Record], name: str) -> None:
    """Refuse boxes that are shares of their image where px are expected.

    Raises:
        ValueError: every box lies in the first pixel of its image, and not all are whole.
    """
    boxes = np.concatenate([np.empty((0, 4)), *(record.boxes_xyxy for record in records)])
    if len(boxes) and boxes.max() <= 1 and (boxes % 1 != 0).any():
        raise ValueError(
            f"{name}: every box lies in the first pixel of its image (the first: {boxes[0].round(3).tolist()}); "
            "expected px, not shares of the image"
        )


def require_images(records: Sequence[Record], name: str, where: str) -> None:
    """Refuse a data set without images.

    Raises:
        ValueError: no record; says where was looked.
    """
    if not records:
        raise ValueError(f"{name}: no usable image; looked in {where}")


def refuse_if_most_lack(
    lacking: Sequence[Path], total: int, name: str, what: str, looked_in: Iterable[Path], share: float = 0.5
) -> None:
    """Refuse a data set most of whose images have no file of annotations: those are likely to lie elsewhere.

    Args:
        lacking: the images, or the files that they lack.
        total: images of the set.
        name: of the data set.
        what: is lacking; the end of the message may say what to do.
        looked_in: folders.
        share: of the images that may lack it.

    Raises:
        ValueError: more than the share; says where was looked.
    """
    if len(lacking) > share * total:
        raise ValueError(
            f"{name}: looked in {shortlist(map(str, looked_in))}; {len(lacking)} of {total} images "
            f"(among them {lacking[0].name}) have no {what}"
        )


def first(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """The first `limit` items; all for None.

    Raises:
        ValueError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: expected at least 1 image, or null for all")
    return items[:limit]
