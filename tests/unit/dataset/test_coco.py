from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emsyolo.dataset.coco import Coco


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 42, "file_name": "a.jpg", "height": 30, "width": 40},
            {"id": 7, "file_name": "b.jpg", "height": 30, "width": 40},
        ],
        "categories": [{"id": 90, "name": "zebra"}, {"id": 3, "name": "ant"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 5], "area": 33.0, "iscrowd": 0},
            {"id": 2, "image_id": 42, "category_id": 90, "bbox": [0, 0, 8, 4], "iscrowd": 1},
        ],
    }


@pytest.fixture
def write(tmp_path: Path, picture: Callable[..., Path]) -> Callable[..., None]:
    def write(**changes: Any) -> None:
        for name in ("a.jpg", "b.jpg"):
            picture(tmp_path / "images" / name)
        (tmp_path / "some.json").write_text(json.dumps({**content(), **changes}))

    return write


def opened(root: Path, **settings: Any) -> Coco:
    return Coco(root, "images", "some.json", **settings)


def test_categories_become_labels_in_the_order_of_the_file(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    data = opened(tmp_path)
    assert data.class_names == ("zebra", "ant")
    assert [record.id for record in data.records] == [42, 7]
    a, b = data[0], data[1]
    assert a.targets.labels.tolist() == [0]
    assert a.targets.ignore.tolist() == [True]
    assert b.targets.boxes_xyxy.tolist() == [[1, 2, 11, 7]]
    assert b.targets.ignore.tolist() == [False]
    # An area that is missing is the box's.
    assert [one["area"] for one in data.truth()["annotations"]] == [32.0, 33.0]
    assert [one["iscrowd"] for one in data.truth()["annotations"]] == [1, 0]


def test_given_class_names_decide_the_labels(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    data = opened(tmp_path, class_names=["ant", "bee", "zebra"])
    assert [record.labels.tolist() for record in data.records] == [[2], [0]]
    with pytest.raises(
        ValueError, match=r"annotation 1 is of category 'ant'; dataset\.class_names has only \['zebra'\]"
    ):
        opened(tmp_path, class_names=["zebra"])


def test_limit_takes_the_first_images(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    assert [record.id for record in opened(tmp_path, limit=1).records] == [42]


def test_its_own_truth_can_be_read_again(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    truth = opened(tmp_path).truth()
    (tmp_path / "some.json").write_text(json.dumps(truth))
    assert opened(tmp_path).truth() == truth


def test_bad_images_and_boxes_are_reported(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [[-3, 0, 10, 5], [1, 1, -4, 5]]
    write(annotations=[{"id": i, "image_id": 7, "category_id": 3, "bbox": box} for i, box in enumerate(boxes)])
    (tmp_path / "images" / "a.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path)
    assert [record.id for record in data.records] == [7]
    assert caplog.messages == [
        "coco/some.json: 1 of 2 images left out: a.jpg (missing)",
        "coco/some.json: 1 boxes reach outside their image and are clipped: b.jpg",
        "coco/some.json: 1 boxes without any area left out: b.jpg",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "annotation 9 is of image 5, which is not among the file's images"),
        ({"category_id": 5}, "annotation 9 is of category 5, which is not among the file's"),
        ({"bbox": [1, 2, 3]}, r"annotation 9 has bbox \[1, 2, 3\]; expected \[x, y, width, height\]"),
        ({"bbox": None}, "annotation 9 has bbox None"),
    ],
)
def test_a_bad_annotation_is_named(
    tmp_path: Path, write: Callable[..., None], change: dict[str, Any], message: str
) -> None:
    write(annotations=[{"id": 9, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], **change}])
    with pytest.raises(ValueError, match=rf"some\.json: {message}"):
        opened(tmp_path)


def test_json_that_is_cut_off_is_named_with_the_place(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    file = tmp_path / "some.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"some\.json: not whole JSON, line 1, column \d+"):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"images": [], "annotations": 3}'])
def test_json_of_another_form_is_refused(tmp_path: Path, write: Callable[..., None], text: str) -> None:
    write()
    (tmp_path / "some.json").write_text(text)
    with pytest.raises(ValueError, match=r"some\.json: no list .*annotations.*categories; expected a COCO file"):
        opened(tmp_path)


def test_absent_data_says_what_was_looked_for_and_how_to_get_it(tmp_path: Path, write: Callable[..., None]) -> None:
    with pytest.raises(FileNotFoundError, match=r"images: looked for the folder.*cocodataset\.org.*dataset\.root="):
        opened(tmp_path)
    write()
    (tmp_path / "some.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"some\.json: looked for the annotation file.*cocodataset\.org"):
        opened(tmp_path)


def test_a_set_without_usable_images_is_refused(tmp_path: Path, write: Callable[..., None]) -> None:
    write(images=[], annotations=[])
    with pytest.raises(ValueError, match=r"no usable image; looked in .*images for the 0 images of .*some\.json"):
        opened(tmp_path)
