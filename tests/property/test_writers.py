"""What tools write is what is read: Ultralytics, labelImg, CVAT, Roboflow and datumaro."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from emsyolo.dataset.coco import Coco
from emsyolo.dataset.images import ImageDataset
from emsyolo.dataset.voc import VOC
from emsyolo.dataset.yolo_txt import YoloTxt

SIZE_HW = (60, 100)  # each pixel is an exact decimal share
NAMES = ["car", "stop sign", "on", "person & dog", "3"]


@dataclass(frozen=True)
class Box:
    """Whole pixels, `x0 < x1`, `y0 < y1`."""

    label: int
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def xyxy(self) -> list[int]:
        return [self.x0, self.y0, self.x1, self.y1]

    @property
    def shares(self) -> tuple[float, float, float, float]:
        height, width = SIZE_HW
        return (
            (self.x0 + self.x1) / 2 / width, (self.y0 + self.y1) / 2 / height,
            (self.x1 - self.x0) / width, (self.y1 - self.y0) / height,
        )  # fmt: skip

    @property
    def corners(self) -> list[tuple[float, float]]:
        height, width = SIZE_HW
        places = [(self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1)]
        return [(x / width, y / height) for x, y in places]


@st.composite
def a_box(draw: st.DrawFn) -> Box:
    height, width = SIZE_HW
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return Box(draw(st.integers(0, len(NAMES) - 1)), x0, y0, x1, y1)


pictures = st.lists(st.lists(a_box(), max_size=5), min_size=1, max_size=4).filter(any)
Boxes = list[list[Box]]


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE_HW[::-1], (90, 80, 70)).save(path)


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def row(box: Box, form: str) -> str:
    if form == "outline":
        return f"{box.label} " + " ".join(f"{x:.6f} {y:.6f}" for x, y in [*box.corners, box.corners[0]])
    if form == "turned":
        return f"{box.label} " + " ".join(f"{x:.6g} {y:.6g}" for x, y in box.corners)
    shares = " ".join(f"{one:.6f}" for one in box.shares)
    if form == "float":
        return f"{box.label:.3f} {shares}"
    return f"{box.label} {shares}" + (" 0.875" if form == "confidence" else "")


def ultralytics(form: str) -> Callable[[Path, Boxes], ImageDataset]:
    def write(root: Path, boxes: Boxes) -> ImageDataset:
        for i, some in enumerate(boxes):
            image(root / "images" / "train" / f"{i}.png")
            text(root / "labels" / "train" / f"{i}.txt", "".join(f"{row(one, form)}\n" for one in some))
        names = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(NAMES))
        text(
            root / "data.yaml", f"path: {root}  # dataset root\ntrain: images/train\nval: images/train\nnames:\n{names}"
        )
        return YoloTxt(root, max_background=1)

    return write


def roboflow_yolo(root: Path, boxes: Boxes) -> ImageDataset:
    for i, some in enumerate(boxes):
        image(root / "train" / "images" / f"{i}_png.rf.0f3c.png")
        rows = "\n".join(row(one, "plain") for one in some)
        text(root / "train" / "labels" / f"{i}_png.rf.0f3c.txt", rows)
    names = json.dumps(NAMES)
    text(root / "data.yaml", f"train: ../train/images\nval: ../valid/images\n\nnc: {len(NAMES)}\nnames: {names}\n")
    return YoloTxt(root, max_background=1)


def cvat_yolo(root: Path, boxes: Boxes) -> ImageDataset:
    for i, some in enumerate(boxes):
        image(root / "obj_train_data" / f"{i}.png")
        text(root / "obj_train_data" / f"{i}.txt", "".join(f"{row(one, 'plain')}\n" for one in some))
    text(root / "train.txt", "".join(f"obj_train_data/{i}.png\r\n" for i in range(len(boxes))))
    text(root / "data.yaml", f"train: train.txt\nnames: {json.dumps(NAMES)}\n")
    return YoloTxt(root, max_background=1)


def voc_xml(name: str, boxes: list[Box], dialect: str) -> str:
    difficult = {"labelImg": "0", "cvat": "0", "roboflow": "Unspecified"}[dialect]
    number = (lambda one: f"{one:.1f}") if dialect == "cvat" else str
    objects = "".join(
        f"<object><name>{escape(NAMES[one.label])}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>{number(one.x0 + 1)}</xmin><ymin>{number(one.y0 + 1)}</ymin>"
        f"<xmax>{number(one.x1)}</xmax><ymax>{number(one.y1)}</ymax></bndbox></object>\n"
        for one in boxes
    )
    height, width = SIZE_HW
    head = '<?xml version="1.0" encoding="utf-8"?>\n' if dialect == "cvat" else ""
    return (
        f"{head}<annotation>\n\t<folder></folder><filename>{name}</filename><path>C:\\data\\{name}</path>\n"
        f"<source><database>Unknown</database></source><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size><segmented>0</segmented>\n{objects}</annotation>\n"
    )


def voc(dialect: str, suffix: str) -> Callable[[Path, Boxes], ImageDataset]:
    def write(root: Path, boxes: Boxes) -> ImageDataset:
        names = [f"image {i}" for i in range(len(boxes))]
        for name, some in zip(names, boxes, strict=True):
            image(root / "JPEGImages" / f"{name}{suffix}")
            text(root / "Annotations" / f"{name}.xml", voc_xml(f"{name}{suffix}", some, dialect))
        text(root / "ImageSets" / "Main" / "train.txt", "".join(f"{name}\n" for name in names))
        return VOC(root, ["train"], NAMES)

    return write


def coco(dialect: str) -> Callable[[Path, Boxes], ImageDataset]:
    def write(root: Path, boxes: Boxes) -> ImageDataset:
        height, width = SIZE_HW
        images, rows = [], []
        for i, some in enumerate(boxes):
            image(root / "images" / f"{i}.png")
            entry: dict[str, Any] = {"id": i + 1, "file_name": f"{i}.png", "height": height, "width": width}
            images.append(entry)
            for one in some:
                wh = [one.x1 - one.x0, one.y1 - one.y0]
                rows.append({"id": len(rows) + 1, "image_id": i + 1, "category_id": one.label + 1,
                             "bbox": [float(one.x0), float(one.y0), *map(float, wh)], "area": float(wh[0] * wh[1]),
                             "segmentation": [], "iscrowd": 0})  # fmt: skip
        categories: list[dict[str, Any]] = [
            {"id": i + 1, "name": name, "supercategory": ""} for i, name in enumerate(NAMES)
        ]
        if dialect == "datumaro":
            for one in rows:
                one |= {"area": None, "attributes": {"occluded": False}, "iscrowd": "0"}
            for one in images:
                one |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
        elif dialect == "text":
            for one in [*rows, *images, *categories]:
                one |= {key: str(value) for key, value in one.items() if key == "id" or key.endswith("_id")}
        elif dialect == "windows":
            for one in images:
                one["file_name"] = f".\\{one['file_name']}"
        content = json.dumps({"info": {}, "images": images, "annotations": rows, "categories": categories})
        text(root / "a.json", content, "utf-16" if dialect == "windows" else "utf-8-sig")
        return Coco(root, "images", "a.json")

    return write


WRITERS: dict[str, Callable[[Path, Boxes], ImageDataset]] = {
    **{f"ultralytics, {one}": ultralytics(one) for one in ("plain", "float", "confidence", "outline", "turned")},
    "roboflow, yolo": roboflow_yolo,
    "cvat, yolo": cvat_yolo,
    "labelImg, voc": voc("labelImg", ".jpg"),
    "cvat, voc": voc("cvat", ".png"),
    "roboflow, voc": voc("roboflow", ".JPEG"),
    **{f"coco, {one}": coco(one) for one in ("plain", "datumaro", "text", "windows")},
}


@pytest.mark.parametrize("writer", WRITERS)
@settings(deadline=None, derandomize=True, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(boxes=pictures)
def test_what_was_written_is_what_is_read(writer: str, boxes: Boxes) -> None:
    with TemporaryDirectory() as folder:
        data = WRITERS[writer](Path(folder), boxes)
        assert list(data.class_names) == NAMES
        assert len(data.records) == len(boxes)
        for record, some in zip(data.records, boxes, strict=True):
            assert record.size_hw == SIZE_HW
            assert record.labels.tolist() == [one.label for one in some]
            wanted = np.array([one.xyxy for one in some], dtype=float).reshape(-1, 4)
            # Six decimals of a share of 100 px are a twenty-thousandth of a pixel.
            np.testing.assert_allclose(record.boxes_xyxy, wanted, atol=1e-4)
