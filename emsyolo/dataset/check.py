"""What is wrong with a data set's files, found once, when the set is opened, and said in one line per kind."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import track

from emsyolo.dataset.images import Record
from emsyolo.dataset.pixels import read_image

Item = TypeVar("Item")

log = logging.getLogger(__name__)

NAMES_SHOWN = 10
PROGRESS_FROM = 2000  # images; fewer are checked before a bar would be read
TOLERANCE_PX = 0.5  # files round their coordinates: a box may reach so far outside before it is worth a word
TAIL_BYTES = 32
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def shortlist(names: Iterable[str]) -> str:
    """The first ten names, then how many more there are."""
    listed = list(names)
    more = f", and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
    return ", ".join(listed[:NAMES_SHOWN]) + more


def image_size(path: Path) -> tuple[int, int]:
    """Height and width by the file's header, once the file is known to be whole.

    A JPEG or PNG is taken as whole if its end marker stands in its last bytes; anything else is decoded.

    Raises:
        ValueError: missing, unreadable or truncated; the message is the reason alone.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            marker = END_MARKERS.get(image.format or "")
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError as error:
        raise ValueError("missing") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("not a readable image") from error
    if marker is None or marker not in tail:
        try:
            read_image(path)
        except ValueError as error:
            raise ValueError("cut off or damaged") from error
    return height, width


def image_sizes(paths: Sequence[Path], name: str) -> dict[Path, tuple[int, int]]:
    """Height and width of every image that can be read; the others are left out with one warning that names them.

    Args:
        paths: image files.
        name: what the message calls the data set.
    """

    def look(path: Path) -> tuple[int, int] | str:
        try:
            return image_size(path)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = track(
            pool.map(look, paths),
            description=f"checking {name}",
            total=len(paths),
            transient=True,
            disable=len(paths) <= PROGRESS_FROM,
        )
        results = dict(zip(paths, found, strict=True))
    report_left_out({path: result for path, result in results.items() if isinstance(result, str)}, len(paths), name)
    return {path: result for path, result in results.items() if not isinstance(result, str)}


def report_left_out(reasons: Mapping[Path, str], total: int, name: str) -> None:
    """One warning with the files that are left out of a data set, and why; none if there are none."""
    if reasons:
        listed = shortlist(f"{path.name} ({reason})" for path, reason in reasons.items())
        log.warning("%s: %d of %d images left out: %s", name, len(reasons), total, listed)


def clean_boxes(records: Sequence[Record], name: str) -> list[Record]:
    """The records with every box inside its image.

    Boxes that reach outside are clipped; those of no, negative or undefined size, and those that lie outside, are
    dropped. One warning for each of the two says how many and in which files; less than half a pixel is not reported.
    """
    cleaned, clipped, dropped = [], {}, {}
    for record in records:
        height, width = record.size_hw
        boxes = np.clip(record.boxes_xyxy, 0, [width, height, width, height])
        keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # a NaN compares as False
        outside = (np.abs(boxes - record.boxes_xyxy) > TOLERANCE_PX).any(axis=1) & keep
        moved = (boxes != record.boxes_xyxy).any(axis=1)
        if outside.any():
            clipped[record.name] = int(outside.sum())
        if not keep.all():
            dropped[record.name] = int((~keep).sum())
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        cleaned.append(
            replace(
                record,
                boxes_xyxy=boxes[keep],
                labels=record.labels[keep],
                crowd=record.crowd[keep],
                difficult=record.difficult[keep],
                area=np.where(moved, np.minimum(area, record.area), record.area)[keep],
            )
        )
    if clipped:
        names = shortlist(clipped)
        log.warning("%s: %d boxes reach outside their image and are clipped: %s", name, sum(clipped.values()), names)
    if dropped:
        names = shortlist(dropped)
        log.warning("%s: %d boxes without any area left out: %s", name, sum(dropped.values()), names)
    return cleaned


def require_images(records: Sequence[Record], name: str, where: str) -> None:
    """Refuse a data set without images.

    Raises:
        ValueError: no record; says where was looked.
    """
    if not records:
        raise ValueError(f"{name}: no usable image; looked in {where}")


def first(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """The first `limit` items; all for None.

    Raises:
        ValueError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: expected at least 1 image, or null for all")
    return items[:limit]
