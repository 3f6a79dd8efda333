"""CocoEvaluator against pycocotools as it comes, where no box is difficult."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.types import Detections, Sample, Targets

SIZE_HW = (120, 200)
CLASSES = 3


def boxes_xywh(rng: np.random.Generator, number: int) -> np.ndarray:
    """Whole pixels, so that equal IoUs and areas at the edge of a range occur."""
    wh = rng.integers(1, [121, 101], (number, 2))
    return np.concatenate((rng.integers(0, np.array(SIZE_HW[::-1]) - wh + 1), wh), axis=1).astype(float)


def scene(seed: int, images: int, found: int, crowds: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A truth and detections, most of them near a true box, with ties in the scores."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for image in range(images):
        truths = boxes_xywh(rng, int(rng.integers(0, 9)))
        for box in truths:
            crowd = int(crowds and rng.random() < 0.2)
            label = int(rng.integers(CLASSES))
            annotations.append(
                {
                    "image_id": image,
                    "category_id": label,
                    "bbox": box.tolist(),
                    "area": box[2] * box[3],
                    "iscrowd": crowd,
                }
            )
        for box in np.concatenate((boxes_xywh(rng, found // 4), np.repeat(truths, found // 8, axis=0))):
            moved = np.clip(box + rng.integers(-4, 5, 4), 0, None)
            moved = np.minimum(
                moved, [*SIZE_HW[::-1], *(np.array(SIZE_HW[::-1]) - np.minimum(moved[:2], SIZE_HW[::-1]))]
            )
            score = float(rng.integers(1, 33)) / 32
            detections.append(
                {"image_id": image, "category_id": int(rng.integers(CLASSES)), "bbox": moved.tolist(), "score": score}
            )
    truth = {
        "images": [{"id": i, "height": SIZE_HW[0], "width": SIZE_HW[1]} for i in range(images)],
        "annotations": [{"id": i + 1, **a} for i, a in enumerate(annotations)],
        "categories": [{"id": k, "name": str(k)} for k in range(CLASSES)],
    }
    return truth, detections


def theirs(truth: dict[str, Any], detections: list[dict[str, Any]]) -> COCOeval:
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes([dict(d) for d in detections]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def ours(truth: dict[str, Any], detections: list[dict[str, Any]]) -> CocoEvaluator:
    evaluator = CocoEvaluator(truth, [str(k) for k in range(CLASSES)])
    for image in truth["images"]:
        mine = [d for d in detections if d["image_id"] == image["id"]]
        xywh = torch.tensor([d["bbox"] for d in mine]).reshape(-1, 4)
        none = Targets(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool())
        evaluator.update(
            [
                Detections(
                    torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1),
                    torch.tensor([d["score"] for d in mine]),
                    torch.tensor([d["category_id"] for d in mine]),
                )
            ],
            [Sample(torch.zeros(0), none, image["id"], str(image["id"]), SIZE_HW)],
        )
    return evaluator


@pytest.mark.parametrize(
    ("seed", "images", "found", "crowds"), [(0, 20, 40, False), (1, 20, 40, True), (2, 2, 900, True), (3, 1, 8, False)]
)
def test_same_numbers(seed: int, images: int, found: int, crowds: bool) -> None:
    truth, detections = scene(seed, images, found, crowds)
    expected = theirs(truth, detections)
    evaluator = ours(truth, detections)

    metrics = evaluator.compute()
    names = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")
    stats = [-1.0 if metrics[name] is None else metrics[name] for name in names]
    np.testing.assert_allclose(stats, expected.stats[:6], rtol=0, atol=1e-12)
    assert max(stats) > 0.05

    precision = expected.eval["precision"][0, :, :, 0, 2]
    _, per_class, _ = evaluator.precision_recall()
    for name, curve in per_class.items():
        np.testing.assert_allclose(curve, precision[:, int(name)], rtol=0, atol=1e-12)
