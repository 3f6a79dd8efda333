"""What predict.py does with every image, wherever it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.datamodule import collate
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Detections, Sample
from emsyolo.weights.atomic import written_whole


def detect(sample: Sample, detector: Detector, postprocess: Postprocess, fit: Fit) -> Detections:
    """The detections in one sample, px of its original, on the CPU."""
    batch = collate([fit(sample, lambda: sample)])
    (found,) = postprocess(detector(batch.frames.to(next(detector.parameters()).device)))
    on_cpu = Detections(found.boxes_xyxy.cpu(), found.scores.cpu(), found.labels.cpu())
    return on_cpu.to_original(batch.samples[0])


def write_predictions(
    out: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], class_names: list[str]
) -> None:
    """Write `predictions.json` in COCO's form."""
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names)]
    with written_whole(out / "predictions.json") as path:
        path.write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories}, indent=1) + "\n"
        )
