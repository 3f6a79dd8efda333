"""What predict.py does with every image, wherever it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emsyolo.dataset.augment import Fit
from emsyolo.dataset.collate import collate
from emsyolo.device import device_of
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Detections, Sample


def detect(sample: Sample, detector: Detector, postprocess: Postprocess, fit: Fit) -> Detections:
    """The detections in one sample, px of its original, on the CPU."""
    batch = collate([fit(sample)])
    (found,) = postprocess(detector(batch.frames.to(device_of(detector))))
    return found.to_original(batch.samples[0])


def write_predictions(
    out: Path,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    **more: Any,
) -> None:
    """Write `predictions.json` in COCO's form.

    Args:
        out: its folder.
        images: COCO's rows of images.
        annotations: COCO's rows of boxes.
        class_names: the categories, in order.
        more: further entries of the file.
    """
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names)]
    content = {"images": images, "annotations": annotations, "categories": categories, **more}
    with written_whole(out / "predictions.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
