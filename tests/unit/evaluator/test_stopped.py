"""Recall of objects that stand still, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emsyolo.evaluator.stopped import Standing, stopped_recall
from emsyolo.types import Detections, Targets

BOXES = torch.tensor([[0.0, 0.0, 10.0, 20.0], [20.0, 0.0, 30.0, 20.0], [40.0, 0.0, 50.0, 20.0]])


def at(labels: list[int], stopped_ms: list[int], ignore: tuple[bool, ...] = (False, False, False)) -> Standing:
    since = np.array([ms * 1_000 if ms >= 0 else -1 for ms in stopped_ms])
    return Standing(Targets(BOXES[: len(labels)], torch.tensor(labels), torch.tensor(ignore[: len(labels)])), since)


def seen(rows: list[tuple[int, float, int]]) -> Detections:
    """Detections: which of the boxes, score, label."""
    which, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    boxes = BOXES[list(which)] + torch.tensor([1.0, 0.0, 1.0, 0.0])  # IoU 9/11
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def test_bins_scores_and_classes_by_hand() -> None:
    truth = [at([0, 1, 2], [-1, 250, 251]), at([0, 1, 2], [0, 900, 1_600]), at([0, 1], [-1, 700])]
    found = [
        seen([(0, 0.9, 0), (1, 0.31, 1), (2, 0.29, 2)]),  # the last too unsure
        seen([(0, 0.9, 0), (1, 0.9, 2)]),  # the second of another class
        seen([(1, 0.9, 1), (1, 0.8, 1)]),  # one box twice
    ]
    recall = stopped_recall(found, truth)
    # moving: 1 of 2 | up to 0.25 s: 250 and 0 ms, both | 251 ms: missed | 900 missed, 700 found | none; 1600 is beyond
    assert recall == {"moving": 0.5, "0.25": 1.0, "0.5": 0.0, "1.0": 0.5, "1.5": None}
    assert stopped_recall(found, truth, score=0.2, bins_s=(2.0,)) == {"moving": 0.5, "2.0": pytest.approx(4 / 6)}
    assert stopped_recall(found, truth, iou=0.9)["moving"] == 0.0


def test_boxes_to_be_ignored_do_not_count() -> None:
    truth = [at([0, 0], [100, 100], (True, False))]
    assert stopped_recall([seen([(0, 0.9, 0)])], truth)["0.25"] == 0.0
    assert stopped_recall([seen([])], [at([0], [100], (True,))])["0.25"] is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="found has 1 labelled times and truth 0"):
        stopped_recall([seen([])], [])
    with pytest.raises(ValueError, match=r"bins_s is \[0\.5, 0\.25\]; expected ascending"):
        stopped_recall([], [], bins_s=(0.5, 0.25))
    with pytest.raises(ValueError, match="holds 1 times; expected one for each of the 2 boxes"):
        at([0, 1], [100])
