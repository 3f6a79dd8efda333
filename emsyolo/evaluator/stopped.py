"""How long a detector remembers objects that stand still, of which an event camera sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torchvision.ops import box_iou

from emsyolo.dataset.event.stops import MOVING
from emsyolo.evaluator.matching import greedy_match
from emsyolo.types import Detections, Targets

BINS_S = (0.25, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Standing:
    """The true boxes at one labelled time, and which of their objects stand still.

    Attributes:
        targets: in the pixels of the detections.
        stopped_for_us: `[M]` int64, microseconds since each stopped; -1 where it moves (`stops.stopped_for_us`).
    """

    targets: Targets
    stopped_for_us: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.targets) != len(self.stopped_for_us):
            raise ValueError(
                f"stopped_for_us holds {len(self.stopped_for_us)} times; expected one for each of the "
                f"{len(self.targets)} boxes"
            )


def stopped_recall(
    found: Sequence[Detections],
    truth: Sequence[Standing],
    *,
    score: float = 0.3,
    iou: float = 0.5,
    bins_s: Sequence[float] = BINS_S,
) -> dict[str, float | None]:
    """The share of true boxes that are found, by how long their objects have stood still.

    Detections of the box's class are matched to boxes as for mAP, best score first; boxes to be ignored count neither
    way.

    Args:
        found: at each labelled time.
        truth: at the same times.
        score: detections below it do not count.
        iou: least overlap of a detection with its box.
        bins_s: the upper ends of the bins of time since the stop, seconds, ascending; each begins above the one before,
            the first at 0.

    Returns:
        `moving`, and each upper end as a word (`0.25`: stopped for up to 0.25 s): the recall; None without such a box.

    Raises:
        ValueError: other numbers of times, or bins that do not ascend from above 0.
    """
    if len(found) != len(truth):
        raise ValueError(f"found has {len(found)} labelled times and truth {len(truth)}; expected the same times")
    if list(bins_s) != sorted(set(bins_s)) or not bins_s or not bins_s[0] > 0:
        raise ValueError(f"bins_s is {list(bins_s)}; expected ascending seconds > 0")
    names = ["moving", *(str(float(end)) for end in bins_s)]
    hits, boxes = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    for seen, one in zip(found, truth, strict=True):
        since = one.stopped_for_us
        bins = np.where(since == MOVING, 0, 1 + np.searchsorted(np.array(bins_s) * 1e6, since, side="left"))
        counted = ~one.targets.ignore.numpy() & (bins < len(names))
        boxes += np.bincount(bins[counted], minlength=len(names))
        hits += np.bincount(bins[counted & _is_found(seen, one.targets, score, iou)], minlength=len(names))
    return {name: float(h / n) if n else None for name, h, n in zip(names, hits, boxes, strict=True)}


def _is_found(found: Detections, targets: Targets, score: float, iou: float) -> NDArray[np.bool_]:
    """Which boxes a detection takes, `[M]`."""
    taken = np.zeros(len(targets), dtype=bool)
    sure = (found.scores >= score).nonzero().flatten()
    best_first = sure[found.scores[sure].argsort(descending=True, stable=True)]
    for label in targets.labels.unique():
        mine, true = best_first[found.labels[best_first] == label], (targets.labels == label).nonzero().flatten()
        ious = box_iou(found.boxes_xyxy[mine].double(), targets.boxes_xyxy[true].double()).numpy()
        ignored = targets.ignore[true].numpy()
        chosen = greedy_match(ious, np.array([iou]), ignored[None], ignored)[0, 0]
        taken[true.numpy()[chosen[chosen >= 0]]] = True
    return taken
