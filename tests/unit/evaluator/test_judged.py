"""What becomes of every box, on cases small enough for a hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.evaluator.judged import confusion, judge, score_curve
from emsyolo.types import Detections, Sample, Targets

A, B, C = [10, 20, 30, 40], [60, 30, 100, 60], [0, 70, 20, 90]  # xyxy, apart from each other
NEAR_A = [10, 22, 30, 42]  # IoU with A 18/22


def found(*rows: tuple[list[float], int, float]) -> Detections:
    boxes, labels, scores = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels).long()
    )


def truth(*rows: tuple[list[float], int], ignore: list[int] | None = None) -> Targets:
    boxes, labels = zip(*rows, strict=True) if rows else ([], [])
    ignored = torch.zeros(len(rows), dtype=torch.bool)
    ignored[ignore or []] = True
    return Targets(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long(), ignored)


def counts(detections: Detections, targets: Targets, score: float = 0.0, **more: torch.Tensor) -> dict[str, int]:
    return confusion([judge(detections, targets, **more)], 3, score).counts()


def test_found_missed_confused_doubled_and_false() -> None:
    boxes = found((A, 0, 0.9), (NEAR_A, 0, 0.8), (B, 2, 0.7), ([70, 0, 90, 10], 1, 0.6))
    targets = truth((A, 0), (B, 1), (C, 1))
    assert counts(boxes, targets) == {"true": 3, "found": 1, "missed": 1, "confused": 1, "doubled": 1, "false": 1}
    matrix = confusion([judge(boxes, targets)], 3, 0.0).matrix
    np.testing.assert_array_equal(matrix, [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])


def test_a_score_leaves_out_what_is_below_it() -> None:
    boxes = found((A, 0, 0.9), (B, 2, 0.7), (B, 1, 0.5))
    targets = truth((A, 0), (B, 1))
    # With all: B's own class takes it, and the other lies on a box that is taken.
    assert counts(boxes, targets) == {"true": 2, "found": 2, "missed": 0, "confused": 0, "doubled": 1, "false": 0}
    assert counts(boxes, targets, 0.65) == {"true": 2, "found": 1, "missed": 0, "confused": 1, "doubled": 0, "false": 0}
    assert counts(boxes, targets, 0.95) == {"true": 2, "found": 0, "missed": 2, "confused": 0, "doubled": 0, "false": 0}


def test_a_better_detection_takes_the_box_whatever_the_order() -> None:
    judged = judge(found((NEAR_A, 0, 0.3), (A, 0, 0.9)), truth((A, 0)))
    assert judged.scores.tolist() == pytest.approx([0.9, 0.3])
    assert judged.taken.tolist() == [0, -1]


def test_ignored_boxes_are_neither_missed_nor_found() -> None:
    targets = truth((A, 0), (B, 0), ignore=[1])
    boxes = found((B, 0, 0.9), (B, 0, 0.8), (A, 0, 0.7))
    assert counts(boxes, targets) == {"true": 1, "found": 1, "missed": 0, "confused": 0, "doubled": 0, "false": 0}
    # Of another class, it is a false alarm to COCO.
    assert counts(found((B, 1, 0.9)), targets)["false"] == 1


def test_a_crowd_has_its_own_overlap() -> None:
    quarter = [60, 30, 80, 45]  # a quarter of B: IoU 0.25, of a crowd 1
    targets = truth((B, 0), ignore=[0])
    assert counts(found((quarter, 0, 0.9)), targets)["false"] == 1
    assert counts(found((quarter, 0, 0.9)), targets, crowd=torch.tensor([True]))["false"] == 0
    with pytest.raises(ValueError, match="crowd has 2 marks; expected one for each of the 1 true boxes"):
        judge(found(), targets, torch.tensor([True, False]))


def test_a_hundred_detections_of_a_class_count() -> None:
    many = found(*[(B, 1, 0.9 - 0.001 * i) for i in range(120)], (A, 0, 0.1))
    judged = judge(many, truth((A, 0)))
    assert len(judged.scores) == 101
    assert judged.right.sum() == 1


def test_nothing_at_all() -> None:
    assert set(counts(found(), truth()).values()) == {0}
    assert counts(found(), truth((A, 0)))["missed"] == 1
    curve = score_curve([judge(found(), truth())], 2)
    assert curve.figures() == {"best_threshold": None, "f1": None, "precision": None, "recall": None}
    curve = score_curve([judge(found(), truth((A, 0)))], 2)
    assert curve.figures() == {"best_threshold": None, "f1": 0.0, "precision": None, "recall": 0.0}
    assert score_curve([], 2).best() is None


def test_precision_recall_and_f1_by_score() -> None:
    boxes = found((A, 0, 0.9), ([70, 0, 90, 10], 0, 0.6), (B, 1, 0.4), ([40, 0, 50, 10], 1, 0.2))
    curve = score_curve([judge(boxes, truth((A, 0), (B, 1), (C, 1)))], 2)
    at = [round(score * 1000) for score in (0.1, 0.3, 0.5, 0.7, 0.95)]
    np.testing.assert_allclose(curve.precision()[at], [2 / 4, 2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(curve.recall()[at], [2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(curve.f1()[at], [4 / 7, 4 / 6, 2 / 5, 2 / 4, 0])
    np.testing.assert_allclose(curve.f1_by_class()[:, at[1]], [2 / 3, 2 / 3])
    assert curve.figures() == {
        "best_threshold": pytest.approx(0.3, abs=0.002),  # the middle of 0.2 to 0.4
        "f1": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
    }


def test_a_detection_of_just_the_threshold_is_not_left_out() -> None:
    curve = score_curve([judge(found((A, 0, 0.5)), truth((A, 0)))], 1)
    assert curve.right[0, [499, 500, 501]].tolist() == [1, 1, 0]


def sample(id: int) -> Sample:
    return Sample(torch.zeros(0), Targets.none(), id, str(id), (96, 128))


def box(xyxy: list[float], image: int = 1, label: int = 0, **more: int) -> dict[str, object]:
    x0, y0, x1, y1 = xyxy
    return {"id": 0, "image_id": image, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], **more}


def test_the_evaluators_boxes_are_judged_as_it_counts_them() -> None:
    images = [{"id": 1, "height": 96, "width": 128, "t_us": 900_000}, {"id": 2, "height": 96, "width": 128, "t_us": 0}]
    annotations = [box(A), box(B, iscrowd=1), box(C, difficult=1), box(A, image=2)]
    evaluator = CocoEvaluator({"images": images, "annotations": annotations}, ("one", "two"))
    quarter = [60, 30, 80, 45]
    evaluator.update([found((A, 0, 0.9), (quarter, 0, 0.8), (C, 0, 0.7))], [sample(1)])
    assert confusion(evaluator.judged(), 2, 0.0).counts() | {"true": 1, "found": 1} == {
        "true": 1, "found": 1, "missed": 0, "confused": 0, "doubled": 0, "false": 0,
    }  # fmt: skip
    evaluator.update([found((A, 1, 0.9))], [sample(2)])
    assert confusion(evaluator.judged(), 2, 0.0).counts()["confused"] == 1
    late = evaluator.under(BoxFilter(skip_us=500_000, min_side_px=20.5))
    assert confusion(late.judged(), 2, 0.0).counts() == dict.fromkeys(
        ("true", "found", "missed", "confused", "doubled", "false"), 0
    )


def test_the_same_average_precision_as_pycocotools() -> None:
    """Precision and recall at every score give the mAP50 of COCOeval, with ties, crowds and difficult boxes."""
    generator = torch.Generator().manual_seed(3)

    def boxes(count: int) -> torch.Tensor:
        corner = torch.randint(0, 4, (count, 2), generator=generator) * 20.0
        return torch.cat((corner, corner + torch.randint(14, 24, (count, 2), generator=generator)), dim=1)

    annotations = [
        box(row, image=image, label=i % 2, iscrowd=int(i == 3), difficult=int(i == 4))
        for image in range(1, 13)
        for i, row in enumerate(boxes(5).tolist())
    ]
    images = [{"id": i, "height": 96, "width": 128} for i in range(1, 13)]
    evaluator = CocoEvaluator({"images": images, "annotations": annotations}, ("one", "two"))
    for image in range(1, 13):
        scores = torch.randint(1, 1000, (9,), generator=generator).float() / 1000
        labels = torch.randint(0, 2, (9,), generator=generator)
        evaluator.update([Detections(boxes(9), scores, labels)], [sample(image)])
    judged = evaluator.judged()
    scores, labels, right, counted = (
        np.concatenate([getattr(one, name) for one in judged]) for name in ("scores", "labels", "right", "counted")
    )
    true = score_curve(judged, 2).true
    means = []
    for label in (0, 1):
        mine = np.flatnonzero((labels == label) & counted)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        hits = np.cumsum(right[mine])
        recall, precision = hits / true[label], hits / np.arange(1, len(mine) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        means.append(np.append(envelope, 0)[places].mean())
    assert np.mean(means) == pytest.approx(evaluator.compute()["mAP50"])
