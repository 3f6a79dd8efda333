"""What became of the boxes of a measurement, in figures and in pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.evaluator.judged import Confusion, ScoreCurve, confusion, score_curve
from emsyolo.report.confusion import confusion_matrix
from emsyolo.report.score import score_curves

PAGE_STEP = 5


@dataclass(frozen=True)
class Boxes:
    """What became of all boxes at IoU 0.5.

    Attributes:
        curve: by score.
        best: the confusion at the score of the best F1.
    """

    curve: ScoreCurve
    best: Confusion

    @classmethod
    def of(cls, evaluator: CocoEvaluator) -> Boxes:
        """Of everything that an evaluator was shown."""
        judged, classes = evaluator.judged(), len(evaluator.class_names)
        curve = score_curve(judged, classes)
        threshold = curve.figures()["best_threshold"]
        return cls(curve, confusion(judged, classes, math.inf if threshold is None else threshold))

    def figures(self) -> dict[str, Any]:
        """Of metrics.json `best_threshold`, and at it `f1`, `precision`, `recall` and `boxes`, their counts."""
        return {**self.curve.figures(), "boxes": self.best.counts()}

    def by_score(self) -> dict[str, Any]:
        """The curve as a page's script reads it, at every fifth threshold."""
        curve, best = self.curve, self.curve.figures()
        return {
            "at": curve.thresholds[::PAGE_STEP].round(4).tolist(),
            "right": curve.right.sum(axis=0)[::PAGE_STEP].tolist(),
            "wrong": curve.wrong.sum(axis=0)[::PAGE_STEP].tolist(),
            "true": int(curve.true.sum()),
            "best": best["best_threshold"],
            "f1": best["f1"],
        }

    def draw(self, out: Path, class_names: Sequence[str]) -> None:
        """Write `score.png` and `confusion.png`."""
        curve = self.curve
        together = {"precision": curve.precision(), "recall": curve.recall(), "F1": curve.f1()}
        by_class = {
            name: f1 for name, f1, true in zip(class_names, curve.f1_by_class(), curve.true, strict=True) if true
        }
        score_curves(out / "score.png", curve.thresholds, together, by_class, curve.best())
        confusion_matrix(out / "confusion.png", self.best.matrix, class_names, curve.figures()["best_threshold"])
