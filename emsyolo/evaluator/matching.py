"""COCO's matching of detections to true boxes, with the difficult boxes of the VOC challenge."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval


def greedy_match(
    ious: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    shared: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Index of the true box that each detection takes, -1 for none, for all area ranges and thresholds at once.

    Detections choose in turn, best score first: the free countable box of largest IoU at or above the threshold, and
    only where there is none, an ignored one. Of equal IoUs the later box wins, as in pycocotools.

    Args:
        ious: `[D, G]`, detections in order of falling score.
        thresholds: `[S]`, IoU.
        ignored: `[R, G]` boxes that do not count, by area range.
        shared: `[G]` ignored boxes that any number of detections may take (crowd and difficult).

    Returns:
        `[R, S, D]`.
    """
    num_found, num_truths = ious.shape
    taken_by = np.full((len(ignored), len(thresholds), num_found), -1, dtype=np.int64)
    if ious.size == 0:
        return taken_by
    free = np.ones((len(ignored), len(thresholds), num_truths), dtype=bool)
    countable = ~ignored[:, None, :]
    close = ious[:, None, :] >= np.minimum(thresholds, 1 - 1e-10)[:, None]  # [D, S, G]
    for d in np.flatnonzero(close.any(axis=(1, 2))):
        candidates = free & close[d]
        preferred = candidates & countable
        chosen_from = np.where(preferred.any(axis=2, keepdims=True), preferred, candidates)
        rank = np.where(chosen_from, ious[d], -1.0)[..., ::-1]
        best = num_truths - 1 - rank.argmax(axis=2)
        r, s = np.nonzero(chosen_from.any(axis=2))
        taken_by[r, s, d] = best[r, s]
        free[r, s, best[r, s]] = shared[best[r, s]]
    return taken_by


class DetectionEval(COCOeval):
    """pycocotools' COCOeval for boxes, where a truth may be `difficult`.

    A difficult box is not counted as missed, and detections that overlap it enough and match no countable box are
    neither right nor wrong, also a second one. Its IoU is the ordinary one (a crowd's divides by the detection's area
    only). All else is COCO's and gives the same numbers; the matching runs over area ranges and thresholds at once.

    Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010. Differs: there a detection goes to the
    box that it overlaps most, here, as for COCO's crowds, to a countable one where there is one.
    """

    def __init__(self, truth: Any, found: Any, image_ids: list[int]) -> None:
        super().__init__(truth, found, "bbox")
        self.params.imgIds = image_ids
        self.params.maxDets = [100]

    def _prepare(self) -> None:
        super()._prepare()
        for truths in self._gts.values():
            for truth in truths:
                truth["shared"] = bool(truth["iscrowd"] or truth["difficult"])
        for key in self._dts:
            best_first = sorted(self._dts[key], key=lambda found: -found["score"])
            self._dts[key] = best_first[: self.params.maxDets[-1]]

    def evaluate(self) -> None:
        """Match every image and class; `accumulate` then gives precision and recall."""
        self._prepare()
        p = self.params
        matched = {(image, label): self._match(image, label) for image in p.imgIds for label in p.catIds}
        self.evalImgs = [
            matched[image, label][area] for label in p.catIds for area in range(len(p.areaRng)) for image in p.imgIds
        ]
        self._paramsEval = copy.deepcopy(p)

    def _match(self, image: int, label: int) -> list[dict[str, Any] | None]:
        """What COCOeval.accumulate reads of one image and class, per area range."""
        low, high = np.array(self.params.areaRng).T[..., None]
        truths, found = self._gts.get((image, label), []), self._dts.get((image, label), [])
        if not truths and not found:
            return [None] * len(low)
        shared = np.array([truth["shared"] for truth in truths], dtype=bool)
        truth_area = np.array([truth["area"] for truth in truths], dtype=np.float64)
        found_area = np.array([row["area"] for row in found], dtype=np.float64)
        ignored = shared | (truth_area < low) | (truth_area > high)
        outside = (found_area < low) | (found_area > high)
        ious = self.computeIoU(image, label) if truths and found else []
        ious = np.asarray(ious, dtype=np.float64).reshape(len(found), len(truths))
        taken_by = greedy_match(ious, self.params.iouThrs, ignored, shared)
        is_matched = taken_by >= 0
        found_ignored = np.repeat(outside[:, None], len(self.params.iouThrs), axis=1)
        if truths:
            rows = np.arange(len(low))[:, None, None]
            found_ignored = np.where(is_matched, ignored[rows, taken_by], found_ignored)
        scores = [row["score"] for row in found]
        return [
            {"dtScores": scores, "dtMatches": m, "dtIgnore": i, "gtIgnore": g}
            for m, i, g in zip(is_matched, found_ignored, ignored, strict=True)
        ]
