"""Annotated images: the data set that all still-image formats become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from emsyolo.dataset.pixels import read_image
from emsyolo.types import Sample, Targets


@dataclass(frozen=True)
class Record:
    """What is known of one image without decoding it.

    Attributes:
        id: number in the data set; COCO's own where there is one.
        name: what a message calls it.
        path: the image file; None if the image is not in a file of its own.
        size_hw: height and width of the stored pixels.
        boxes_xyxy: `[M, 4]` float64, px of the stored image, `0 <= x0 < x1 <= W`.
        labels: `[M]` int64.
        crowd: `[M]` bool; a box around many objects that are not told apart.
        difficult: `[M]` bool; VOC's mark for what need not be found.
        area: `[M]` float64, px^2; COCO counts the outline's area, elsewhere it is the box's.
        t_us: when the boxes are true, in the time of the recording; None for a still image.
    """

    id: int
    name: str
    path: Path | None
    size_hw: tuple[int, int]
    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float64]
    t_us: int | None = None

    @property
    def ignore(self) -> NDArray[np.bool_]:
        """`[M]`: crowd or difficult, neither trained on nor counted as missed."""
        return self.crowd | self.difficult


def plain_record(
    id: int,
    path: Path | None,
    size_hw: tuple[int, int],
    boxes_xyxy: ArrayLike,
    labels: ArrayLike,
    *,
    name: str | None = None,
    crowd: ArrayLike | None = None,
    difficult: ArrayLike | None = None,
    area: ArrayLike | None = None,
    t_us: int | None = None,
) -> Record:
    """A record from lists; marks that are not given are False, an area that is not given is the box's."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Record(
        id=id,
        name=name or (path.name if path else str(id)),
        path=path,
        size_hw=size_hw,
        boxes_xyxy=boxes,
        labels=np.asarray(labels, dtype=np.int64),
        crowd=np.zeros(len(boxes), dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool),
        difficult=np.zeros(len(boxes), dtype=bool) if difficult is None else np.asarray(difficult, dtype=bool),
        area=sides.prod(axis=1) if area is None else np.asarray(area, dtype=np.float64),
        t_us=t_us,
    )


def targets_of(record: Record) -> Targets:
    """The true boxes of a record, px of the stored image."""
    return Targets(
        torch.from_numpy(record.boxes_xyxy.astype(np.float32)),
        torch.from_numpy(record.labels.copy()),
        torch.from_numpy(record.ignore),
    )


class ImageDataset(Dataset[Sample]):
    """Images with true boxes, in the order of their records.

    Args:
        records: one per image.
        class_names: the label is the index.
        name: what messages call the set.
    """

    def __init__(self, records: Sequence[Record], class_names: Sequence[str], name: str) -> None:
        self.records = tuple(records)
        self.class_names = tuple(class_names)
        self.name = name

    @property
    def channels(self) -> int:
        """C of a sample's frames."""
        return 3

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """The sample in its original size: frames `[1, 3, H, W]` uint8, RGB.

        Raises:
            ValueError: the file cannot be decoded.
        """
        record = self.records[index]
        return Sample(self._image(record)[None], targets_of(record), record.id, record.name, record.size_hw)

    def _image(self, record: Record) -> Tensor:
        """The pixels `[3, H, W]` of a record."""
        return read_image(record.path) if record.path else torch.zeros((3, *record.size_hw), dtype=torch.uint8)

    def truth(self) -> dict[str, Any]:
        """The ground truth in COCO's form, in px of the original images; `category_id` is the label.

        Each annotation has `difficult` (0 or 1) besides COCO's `iscrowd`, each image of a recording its time `t_us`. No
        image is decoded.
        """
        annotations: list[dict[str, Any]] = []
        for record in self.records:
            corners = record.boxes_xyxy
            xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            for i, box in enumerate(xywh.tolist()):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.id,
                        "category_id": int(record.labels[i]),
                        "bbox": box,
                        "area": float(record.area[i]),
                        "iscrowd": int(record.crowd[i]),
                        "difficult": int(record.difficult[i]),
                    }
                )
        images: list[dict[str, Any]] = [
            {"id": record.id, "file_name": record.name, "height": record.size_hw[0], "width": record.size_hw[1]}
            for record in self.records
        ]
        for image, record in zip(images, self.records, strict=True):
            if record.t_us is not None:
                image["t_us"] = record.t_us
        categories = [{"id": i, "name": name} for i, name in enumerate(self.class_names)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def box_sizes(self, scale_wh: Callable[[tuple[int, int]], tuple[float, float]]) -> NDArray[np.float64]:
        """Width and height `[M, 2]` of all boxes that are trained on, px of the network's input.

        Args:
            scale_wh: px of the input per px of an image of the given height and width, along x and y.
        """
        sizes = [
            (record.boxes_xyxy[:, 2:] - record.boxes_xyxy[:, :2])[~record.ignore] * scale_wh(record.size_hw)
            for record in self.records
        ]
        return np.concatenate(sizes) if sizes else np.zeros((0, 2))
