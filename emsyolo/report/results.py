"""Detections in COCO's result form."""

from __future__ import annotations

from emsyolo.types import Detections


def coco_results(image_id: int, found: Detections) -> list[dict[str, object]]:
    """One image's detections, px of the original: `bbox` xywh rounded to 0.01, `score`, `category_id` the label."""
    boxes = found.boxes_xyxy.clone()
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": [round(v, 2) for v in box],
            "score": round(float(score), 5),
        }
        for box, score, label in zip(boxes.tolist(), found.scores, found.labels, strict=True)
    ]
