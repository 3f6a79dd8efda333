"""CocoEvaluator on cases small enough for a hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.types import Detections, Sample, Targets

NAMES = ("ace", "king", "queen")
SIZE_HW = (96, 128)
A, B = [10, 20, 20, 20], [60, 30, 40, 30]  # xywh


def truth(*annotations: dict[str, Any], images: int = 1) -> dict[str, Any]:
    sized = [
        {"area": a["bbox"][2] * a["bbox"][3], "iscrowd": 0, "image_id": 7, "category_id": 0, **a} for a in annotations
    ]
    return {
        "images": [{"id": 7 + i, "height": SIZE_HW[0], "width": SIZE_HW[1]} for i in range(images)],
        "annotations": [{"id": i, **a} for i, a in enumerate(sized)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
    }


def sample(id: int = 7, **way_back: Any) -> Sample:
    none = torch.zeros(0)
    return Sample(none, Targets(none.reshape(0, 4), none.long(), none.bool()), id, f"{id}.png", SIZE_HW, **way_back)


def found(*boxes: list[float], labels: list[int] | None = None) -> Detections:
    """Detections at xywh boxes, scores 0.9, 0.8, ..."""
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores = 0.9 - 0.1 * torch.arange(len(xywh))
    return Detections(
        torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1), scores, torch.tensor(labels or [0] * len(xywh))
    )


def measure(truth: dict[str, Any], detections: Detections) -> dict[str, Any]:
    evaluator = CocoEvaluator(truth, NAMES)
    evaluator.update([detections], [sample()])
    return evaluator.compute()


def test_all_found(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = measure(truth({"bbox": A}, {"bbox": B, "category_id": 1}), found(A, B, labels=[0, 1]))
    assert metrics == {
        "mAP": pytest.approx(1),
        "mAP50": pytest.approx(1),
        "mAP75": pytest.approx(1),
        "mAP_small": pytest.approx(1),  # A has 400 px
        "mAP_medium": pytest.approx(1),  # B has 1200 px
        "mAP_large": None,
        "per_class": {"ace": pytest.approx(1), "king": pytest.approx(1), "queen": None},
        "images": 1,
    }
    assert type(metrics["mAP"]) is float
    assert capsys.readouterr().out == ""


def test_mean_over_iou_thresholds() -> None:
    # IoU 16.4 / 20 = 0.82: right at 0.5, 0.55, ... 0.8, seven of ten.
    metrics = measure(truth({"bbox": A}), found([10, 20, 20, 16.4]))
    assert metrics["mAP"] == pytest.approx(0.7)
    assert (metrics["mAP50"], metrics["mAP75"]) == (pytest.approx(1), pytest.approx(1))


def test_false_alarm_first() -> None:
    assert measure(truth({"bbox": A}), found([90, 60, 20, 20], A))["mAP"] == pytest.approx(0.5)


def test_second_detection_of_a_box_is_wrong() -> None:
    # Right, wrong, right: precision 1 up to recall 0.5 (51 of the 101 places), then 2/3.
    metrics = measure(truth({"bbox": A}, {"bbox": B}), found(A, A, B))
    assert metrics["mAP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_difficult_is_neither_missed_nor_a_false_alarm() -> None:
    hard = truth({"bbox": B, "difficult": True}, {"bbox": A})
    assert measure(hard, found(B, B, A))["mAP"] == pytest.approx(1)
    assert measure(hard, found(A))["mAP"] == pytest.approx(1)
    assert measure(truth({"bbox": B}, {"bbox": A}), found(A))["mAP50"] == pytest.approx(51 / 101)


def test_difficult_has_the_ordinary_iou_and_a_crowd_its_own() -> None:
    quarter = [60, 30, 20, 15]  # a quarter of B: IoU 0.25, of a crowd 1
    assert measure(truth({"bbox": B, "difficult": True}, {"bbox": A}), found(quarter, A))["mAP50"] == pytest.approx(0.5)
    assert measure(truth({"bbox": B, "iscrowd": 1}, {"bbox": A}), found(quarter, A))["mAP50"] == pytest.approx(1)


def test_countable_box_goes_before_a_difficult_one_of_larger_overlap() -> None:
    beside = [62, 30, 40, 30]  # IoU with B: 38/42
    metrics = measure(truth({"bbox": B, "difficult": True}, {"bbox": beside}), found(B))
    assert metrics["mAP50"] == pytest.approx(1)


def test_only_difficult_boxes_leave_nothing_to_find() -> None:
    assert measure(truth({"bbox": B, "difficult": True}), found(B))["mAP"] is None


def test_nothing_found() -> None:
    metrics = measure(truth({"bbox": A}), found())
    assert (metrics["mAP"], metrics["mAP_small"], metrics["mAP_large"], metrics["images"]) == (0.0, 0.0, None, 1)


def test_only_the_images_shown_count() -> None:
    evaluator = CocoEvaluator(truth({"bbox": A}, {"bbox": B, "image_id": 8}, images=2), NAMES)
    evaluator.update([found(A)], [sample(7)])
    assert (evaluator.compute()["mAP"], evaluator.compute()["images"]) == (pytest.approx(1), 1)
    evaluator.update([found()], [sample(8)])
    assert (evaluator.compute()["mAP"], evaluator.compute()["images"]) == (pytest.approx(51 / 101), 2)


def test_image_shown_twice_counts_once() -> None:
    evaluator = CocoEvaluator(truth({"bbox": A}), NAMES)
    evaluator.update([found(A), found(B)], [sample(), sample()])
    assert (evaluator.compute()["mAP"], len(evaluator.results())) == (pytest.approx(1), 1)
    evaluator.reset()
    assert evaluator.results() == []


def test_detections_go_back_to_the_original() -> None:
    evaluator = CocoEvaluator(truth({"bbox": A}), NAMES)
    evaluator.update([found([30, 68, 60, 40])], [sample(scale_wh=(3.0, 2.0), offset_xy=(0.0, 28.0))])
    assert evaluator.results() == [
        {"image_id": 7, "category_id": 0, "bbox": pytest.approx(A), "score": pytest.approx(0.9)}
    ]
    assert evaluator.compute()["mAP"] == pytest.approx(1)


def test_precision_over_recall() -> None:
    evaluator = CocoEvaluator(truth({"bbox": A}, {"bbox": B}, {"bbox": B, "category_id": 2}), NAMES)
    evaluator.update([found(A, A, B)], [sample()])
    recall, per_class, mean = evaluator.precision_recall()
    assert recall[[0, 50, 100]] == pytest.approx([0, 0.5, 1])
    assert list(per_class) == ["ace", "queen"]
    np.testing.assert_allclose(per_class["ace"], [1] * 51 + [2 / 3] * 50)
    np.testing.assert_allclose(per_class["queen"], 0)
    np.testing.assert_allclose(mean, [1 / 2] * 51 + [1 / 3] * 50)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"annotations": []}, "1 images and 0 boxes"),
        ({"images": []}, "0 images and 1 boxes"),
        ({"images": [{"id": 3}]}, "is of image 7"),
    ],
)
def test_truth_is_checked(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CocoEvaluator({**truth({"bbox": A}), **broken}, NAMES)


def test_label_is_checked() -> None:
    with pytest.raises(ValueError, match=r"category_id 3; expected a label in 0\.\.2"):
        CocoEvaluator(truth({"bbox": A, "category_id": 3}), NAMES)


def test_bad_use_is_refused() -> None:
    evaluator = CocoEvaluator(truth({"bbox": A}), NAMES)
    with pytest.raises(ValueError, match="no image was shown"):
        evaluator.compute()
    with pytest.raises(ValueError, match=r"'9\.png' has id 9"):
        evaluator.update([found(A)], [sample(9)])
    with pytest.raises(ValueError, match="1 detections for 2 samples"):
        evaluator.update([found(A)], [sample(), sample()])
