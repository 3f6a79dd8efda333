"""What became of every detection and every true box at one IoU: found, missed, confused, doubled or false."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from torch import Tensor

from emsyolo.evaluator.matching import greedy_match
from emsyolo.types import Detections, Targets

IOU = 0.5
PER_CLASS = 100  # detections of one class that count in an image, as in COCO's measure
STEPS = 1001  # thresholds from 0 to 1
ENOUGH = np.array([1e-12])  # an overlap that is not 0


@dataclass(frozen=True)
class Judged:
    """The detections of one image, best first, beside its true boxes.

    Attributes:
        scores: `[D]` float64, falling.
        labels: `[D]` int64.
        taken: `[D]` int64, the true box of its own class that each takes; -1: none.
        overlaps: `[D, G]` float64, IoU whatever the classes; 0 where it is not enough.
        truth_labels: `[G]` int64.
        ignored: `[G]` bool, true boxes that are neither missed nor found.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    taken: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    truth_labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """`[D]`: detections that are right or wrong; those on an ignored box of their class are neither."""
        return ~self._on_ignored

    @property
    def right(self) -> NDArray[np.bool_]:
        """`[D]`: detections that take a true box that counts."""
        return (self.taken >= 0) & ~self._on_ignored

    @property
    def _on_ignored(self) -> NDArray[np.bool_]:
        return (self.taken >= 0) & np.append(self.ignored, False)[self.taken]


def judge(found: Detections, truth: Targets, crowd: Tensor | None = None, *, iou: float = IOU) -> Judged:
    """Match the detections of one image to its true boxes as COCO does, best score first, class by class.

    A detection takes the free box of its class that it overlaps most, by `iou` or more; an ignored one only where there
    is no other, and that any number of detections may take. So of any threshold on the score the detections above it
    are matched as if there were no others. Of each class the best 100 detections count.

    Args:
        found: in any order.
        truth: in the same px.
        crowd: `[M]` bool, those of the ignored boxes that stand for many objects: the overlap with them is the share of
            the detection that lies within. None: none.
        iou: in (0, 1].

    Raises:
        ValueError: another number of `crowd` than of true boxes.
    """
    crowds = np.zeros(len(truth), dtype=bool) if crowd is None else crowd.numpy()
    if len(crowds) != len(truth):
        raise ValueError(f"crowd has {len(crowds)} marks; expected one for each of the {len(truth)} true boxes")
    order = _best_of_each_class(found)
    labels, scores = found.labels.numpy()[order], found.scores.double().numpy()[order]
    truth_labels, ignored = truth.labels.numpy(), truth.ignore.numpy()
    ious = _overlaps(found.boxes_xyxy[order], truth.boxes_xyxy, crowds)
    same = labels[:, None] == truth_labels
    taken = greedy_match(np.where(same, ious, 0.0), np.array([iou]), ignored[None], ignored)[0, 0]
    overlaps = np.where(ious >= min(iou, 1 - 1e-10), ious, 0.0)
    return Judged(scores, labels, taken, overlaps, truth_labels, ignored)


def _best_of_each_class(found: Detections) -> NDArray[np.int64]:
    """The places of the detections that count, best first."""
    order = np.argsort(-found.scores.double().numpy(), kind="stable")
    labels = found.labels.numpy()[order]
    ranks = np.zeros(len(order), dtype=np.int64)
    for label in np.unique(labels):
        mine = labels == label
        ranks[mine] = np.arange(mine.sum())
    return order[ranks < PER_CLASS]


def _overlaps(found_xyxy: Tensor, true_xyxy: Tensor, crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU `[D, G]` as pycocotools computes it."""
    if not len(found_xyxy) or not len(true_xyxy):
        return np.zeros((len(found_xyxy), len(true_xyxy)))
    found, true = (np.ascontiguousarray(_xywh(boxes.double().numpy())) for boxes in (found_xyxy, true_xyxy))
    return np.asarray(mask.iou(found, true, crowd.astype(np.uint8).tolist()), dtype=np.float64)


def _xywh(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1)


@dataclass(frozen=True)
class ScoreCurve:
    """What would be right and wrong if detections below a score were left out, for scores from 0 to 1.

    Attributes:
        thresholds: `[S]`, rising.
        right: `[K, S]` int64, by class.
        wrong: `[K, S]` int64.
        true: `[K]` int64, true boxes that count.
    """

    thresholds: NDArray[np.float64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    true: NDArray[np.int64]

    def precision(self) -> NDArray[np.float64]:
        """`[S]` over all classes together; NaN where nothing is found."""
        found = (self.right + self.wrong).sum(axis=0)
        return np.where(found > 0, self.right.sum(axis=0) / np.maximum(found, 1), np.nan)

    def recall(self) -> NDArray[np.float64]:
        """`[S]` over all classes together; 0 without true boxes."""
        return self.right.sum(axis=0) / max(1, self.true.sum())

    def f1(self) -> NDArray[np.float64]:
        """`[S]`, the harmonic mean of precision and recall over all classes together."""
        return _f1(self.right.sum(axis=0), self.wrong.sum(axis=0), self.true.sum())

    def f1_by_class(self) -> NDArray[np.float64]:
        """`[K, S]`; of a class without true boxes 0."""
        return _f1(self.right, self.wrong, self.true[:, None])

    def best(self) -> int | None:
        """The place of the largest F1, of equal ones the middle; None: nothing right is found at any."""
        f1 = self.f1()
        (largest,) = np.nonzero(f1 == f1.max())
        return int(largest[len(largest) // 2]) if f1.max() > 0 else None

    def figures(self) -> dict[str, float | None]:
        """`best_threshold`, and `f1`, `precision` and `recall` there; None where they do not exist."""
        best = self.best()
        if best is None:
            some = 0.0 if self.true.any() else None
            return {"best_threshold": None, "f1": some, "precision": None, "recall": some}
        values = self.thresholds, self.f1(), self.precision(), self.recall()
        names = "best_threshold", "f1", "precision", "recall"
        return {name: float(value[best]) for name, value in zip(names, values, strict=True)}


def _f1(right: NDArray[np.int64], wrong: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.float64]:
    return 2 * right / np.maximum(1, right + wrong + true)


def score_curve(images: Sequence[Judged], num_classes: int) -> ScoreCurve:
    """The curve of a set of images, at 1001 thresholds; a detection of just that score is not left out."""
    thresholds = np.linspace(0, 1, STEPS)
    joined = [np.concatenate([getattr(one, name) for one in images] or [np.zeros(0)]) for name in (
        "scores", "labels", "right", "counted")]  # fmt: skip
    scores, labels, right, counted = joined[0], joined[1].astype(np.int64), *(x.astype(bool) for x in joined[2:])
    true = np.zeros(num_classes, dtype=np.int64)
    for one in images:
        true += np.bincount(one.truth_labels[~one.ignored], minlength=num_classes)

    def at_least(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        by_class = [np.sort(scores[which & (labels == label)]) for label in range(num_classes)]
        return np.array([len(one) - np.searchsorted(one, thresholds, side="left") for one in by_class])

    return ScoreCurve(thresholds, at_least(right), at_least(counted & ~right), true)


@dataclass(frozen=True)
class Confusion:
    """Which class was found where which was true.

    Attributes:
        matrix: `[K+1, K+1]` int64, true by found; the last row: nothing was there, the last column: nothing was found.
        doubled: of the detections where nothing was there, those on an object that another has taken already.
    """

    matrix: NDArray[np.int64]
    doubled: int

    def counts(self) -> dict[str, int]:
        """Boxes: `true` = found + confused + missed; `found`, `confused`, `doubled` and `false` are all detections."""
        found = int(np.trace(self.matrix))
        missed, unasked = int(self.matrix[:, -1].sum()), int(self.matrix[-1].sum())
        true = int(self.matrix[:-1].sum())
        return {
            "true": true,
            "found": found,
            "missed": missed,
            "confused": true - found - missed,
            "doubled": self.doubled,
            "false": unasked - self.doubled,
        }


def confusion(images: Iterable[Judged], num_classes: int, score: float) -> Confusion:
    """The confusion matrix of a set of images.

    What takes a box of its class is found. What is left may take a missed box of another class (confused), lie on one
    that is taken (doubled), or on nothing (false).

    Args:
        images: as judged.
        num_classes: K.
        score: detections with a lower one are left out.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    doubled = 0
    for one in images:
        sure = one.scores >= score
        right, rest = one.right & sure, np.flatnonzero(sure & (one.taken < 0))
        free = ~one.ignored
        free[one.taken[right]] = False
        np.add.at(matrix, (one.labels[right], one.labels[right]), 1)
        (left,) = np.nonzero(free)
        none = np.zeros(len(left), dtype=bool)
        chosen = greedy_match(one.overlaps[np.ix_(rest, left)], ENOUGH, none[None], none)[0, 0]
        np.add.at(matrix, (one.truth_labels[left[chosen[chosen >= 0]]], one.labels[rest[chosen >= 0]]), 1)
        missed = np.delete(left, chosen[chosen >= 0])
        matrix[:-1, -1] += np.bincount(one.truth_labels[missed], minlength=num_classes)
        unasked = rest[chosen < 0]
        matrix[-1, :-1] += np.bincount(one.labels[unasked], minlength=num_classes)
        doubled += int(one.overlaps[unasked][:, ~one.ignored].any(axis=1).sum())
    return Confusion(matrix, doubled)
