"""Average precision of detections, measured by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO

from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.distributed import gathered
from emsyolo.evaluator.judged import Judged, judge
from emsyolo.evaluator.matching import DetectionEval
from emsyolo.types import Detections, Sample, Targets

SCORES = ("mAP", "mAP50", "mAP75")
AREAS = {"mAP_small": 1, "mAP_medium": 2, "mAP_large": 3}  # places in pycocotools' areaRng; 0 is all


class CocoEvaluator:
    """COCO's metrics over the images shown so far.

    Keeps detections between calls; `reset` before the next pass. An image shown twice (a distributed sampler pads its
    last batch) counts once, as first shown.

    Args:
        truth: a COCO ground truth: `images` with `id`; `annotations` with `image_id`, `category_id` (the label's
            index), `bbox` (xywh, px of the original image) and, if known, `area`, `iscrowd` and `difficult`.
        class_names: the labels' names, in order.
        box_filter: which boxes count, true and found; None: all. One that asks for time needs `t_us` of the images.

    Attributes:
        found: per image id `[M, 6]` float64: x, y, w, h in px of the original image, score, label. Those of another
            process can be added to it.

    Raises:
        ValueError: a truth without images or boxes, or a box of an unknown image or class.
    """

    def __init__(self, truth: dict[str, Any], class_names: Sequence[str], box_filter: BoxFilter | None = None) -> None:
        self.class_names = tuple(class_names)
        self.box_filter = box_filter
        self._raw = truth
        annotations = _annotations(truth, len(self.class_names))
        self._ids = {image["id"] for image in truth["images"]}
        images = truth["images"]
        if box_filter is not None:
            images = [image for image in images if box_filter.in_time(image.get("t_us"))]
            counted = {image["id"] for image in images}
            large = box_filter.keep(np.array([annotation["bbox"][2:] for annotation in annotations]).reshape(-1, 2))
            annotations = [
                one for one, keep in zip(annotations, large, strict=True) if keep and one["image_id"] in counted
            ]
        self._truth = _index(images, annotations, self.class_names)
        self.found: dict[int, NDArray[np.float64]] = {}

    def under(self, box_filter: BoxFilter) -> CocoEvaluator:
        """The same truth and detections under another filter."""
        other = CocoEvaluator(self._raw, self.class_names, box_filter)
        other.found = self.found
        return other

    def of(self, images: Collection[int]) -> CocoEvaluator:
        """The same, of some of the images."""
        other = CocoEvaluator(self._raw, self.class_names, self.box_filter)
        other.found = {image: rows for image, rows in self.found.items() if image in images}
        return other

    def reset(self) -> None:
        """Forget what was found."""
        self.found = {}

    def update(self, detections: Sequence[Detections], samples: Sequence[Sample]) -> None:
        """Add the detections of a batch, in px of the samples' frames; the samples need no pixels.

        Raises:
            ValueError: not one `Detections` per sample, or a sample whose id the truth does not have.
        """
        if len(detections) != len(samples):
            raise ValueError(f"{len(detections)} detections for {len(samples)} samples; expected one for each")
        for one, sample in zip(detections, samples, strict=True):
            if sample.id not in self._ids:
                raise ValueError(f"sample {sample.name!r} has id {sample.id}; expected the id of an image of the truth")
            self.found.setdefault(sample.id, _rows(one.to_original(sample)))

    def gather(self) -> None:
        """Add what the other processes found; each image counts once."""
        for found in gathered(self.found):
            for image, rows in found.items():
                self.found.setdefault(image, rows)

    def compute(self) -> dict[str, Any]:
        """The metrics, each in 0..1 or None where there is no true box to find.

        Returns:
            `mAP` (IoU 0.5 to 0.95), `mAP50`, `mAP75`, `mAP_small`, `mAP_medium`, `mAP_large`, `per_class` {name: mAP}
            and `images`, the number of images shown, over which all of it is taken.

        Raises:
            ValueError: no image was shown.
        """
        precision = self._precision()
        return {
            "mAP": _mean(precision[..., 0]),
            "mAP50": _mean(precision[0, ..., 0]),
            "mAP75": _mean(precision[5, ..., 0]),
            **{name: _mean(precision[..., area]) for name, area in AREAS.items()},
            "per_class": {name: _mean(precision[:, :, k, 0]) for k, name in enumerate(self.class_names)},
            "images": sum(image in self._truth.imgs for image in self.found),
        }

    def precision_recall(self) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        """Precision at IoU 0.5 over recall: recall `[101]`, precision `[101]` by class that has true boxes, their mean.

        Raises:
            ValueError: no image was shown, or none with a true box.
        """
        precision = self._precision()[0, ..., 0]  # [101, K]
        known = precision[0] > -1
        if not known.any():
            raise ValueError(f"the {len(self.found)} images shown have no true box; expected at least one for a curve")
        per_class = {name: precision[:, k] for k, name in enumerate(self.class_names) if known[k]}
        return np.linspace(0, 1, len(precision)), per_class, precision[:, known].mean(axis=1)

    def judged(self) -> list[Judged]:
        """What became of the boxes of each image shown, in the order of the ids, at IoU 0.5; see `judge`."""
        images = []
        for image in sorted(image for image in self.found if image in self._truth.imgs):
            rows = self.found[image]
            if self.box_filter is not None:
                rows = rows[self.box_filter.keep(rows[:, 2:4])]
            true = self._truth.imgToAnns[image]
            boxes = _corners(np.array([one["bbox"] for one in true], dtype=np.float64).reshape(-1, 4))
            labels = torch.tensor([one["category_id"] for one in true], dtype=torch.int64)
            crowd = torch.tensor([bool(one["iscrowd"]) for one in true], dtype=torch.bool)
            difficult = torch.tensor([one["difficult"] for one in true], dtype=torch.bool)
            found = Detections(_corners(rows[:, :4]), torch.from_numpy(rows[:, 4]), torch.from_numpy(rows[:, 5]).long())
            images.append(judge(found, Targets(boxes, labels, crowd | difficult), crowd))
        return images

    def results(self) -> list[dict[str, Any]]:
        """All detections in COCO's result format: `image_id`, `category_id`, `bbox` (xywh, original px), `score`."""
        return [
            {"image_id": image, "category_id": int(row[5]), "bbox": row[:4].tolist(), "score": float(row[4])}
            for image, rows in self.found.items()
            for row in rows
        ]

    def _precision(self) -> NDArray[np.float64]:
        """Precision `[10, 101, K, 4]` by IoU threshold, recall, class and area range; -1 where there is no true box."""
        if not self.found:
            raise ValueError("no image was shown to the evaluator; expected at least one update before its metrics")
        images = sorted(image for image in self.found if image in self._truth.imgs)
        if not images:
            return np.full((10, 101, len(self.class_names), 4), -1.0)  # the filter leaves nothing to find
        table = np.concatenate([np.insert(self.found[image], 0, image, axis=1) for image in images])
        if self.box_filter is not None:
            table = table[self.box_filter.keep(table[:, 3:5])]
        # pycocotools reports on its progress by printing.
        with contextlib.redirect_stdout(io.StringIO()):
            found = (
                self._truth.loadRes(table)
                if len(table)
                else _index(self._truth.dataset["images"], [], self.class_names)
            )
            evaluation = DetectionEval(self._truth, found, images)
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"][..., 0]


def _annotations(truth: dict[str, Any], num_classes: int) -> list[dict[str, Any]]:
    """The annotations as the matching reads them, checked."""
    if not truth["images"] or not truth["annotations"]:
        raise ValueError(
            f"the truth has {len(truth['images'])} images and {len(truth['annotations'])} boxes; expected some of both"
        )
    images = {image["id"] for image in truth["images"]}
    annotations = []
    # Numbered anew from 1: pycocotools takes the id 0 for "no match".
    for number, one in enumerate(truth["annotations"], start=1):
        image, label, (x, y, w, h) = one["image_id"], one["category_id"], one["bbox"]
        if image not in images:
            raise ValueError(
                f"a box of the truth is of image {image}; expected the id of one of its {len(images)} images"
            )
        if not 0 <= label < num_classes:
            raise ValueError(
                f"a box in image {image} has category_id {label}; expected a label in 0..{num_classes - 1}"
            )
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": label,
                "bbox": [x, y, w, h],
                "area": one.get("area", w * h),
                "iscrowd": int(one.get("iscrowd", 0)),
                "difficult": bool(one.get("difficult", False)),
            }
        )
    return annotations


def _index(images: list[dict[str, Any]], annotations: list[dict[str, Any]], class_names: Sequence[str]) -> COCO:
    """pycocotools' index of annotations."""
    coco = COCO()
    coco.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label, "name": name} for label, name in enumerate(class_names)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _rows(detections: Detections) -> NDArray[np.float64]:
    """Detections as `[M, 6]`: x, y, w, h, score, label."""
    boxes, scores = (x.detach().double().numpy() for x in (detections.boxes_xyxy, detections.scores))
    labels = detections.labels.double().numpy()
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores[:, None], labels[:, None]), axis=1)


def _corners(xywh: NDArray[np.float64]) -> torch.Tensor:
    """Boxes `[M, 4]` as xyxy."""
    return torch.from_numpy(np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1))


def _mean(precision: NDArray[np.float64]) -> float | None:
    """The mean over what is known (-1 is not)."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
