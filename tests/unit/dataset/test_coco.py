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


def boxes_of(data: Coco) -> list[list[list[float]]]:
    return [record.boxes_xyxy.tolist() for record in data.records]


def test_ids_as_text_and_as_floats(tmp_path: Path, write: Callable[..., None]) -> None:
    images = [{"id": "x1", "file_name": "a.jpg"}, {"id": "x2", "file_name": "b.jpg"}]
    rows = [{"id": "q", "image_id": f"x{i}", "category_id": "3", "bbox": [i, 2, 3, 4]} for i in (1, 2)]
    write(images=images, annotations=rows)
    data = opened(tmp_path)
    assert [record.id for record in data.records] == [0, 1]
    assert boxes_of(data) == [[[1, 2, 4, 6]], [[2, 2, 5, 6]]]
    write(
        images=[{"id": "42", "file_name": "a.jpg"}, {"id": 7.0, "file_name": "b.jpg"}],
        annotations=[{"id": 1, "image_id": one, "category_id": 3.0, "bbox": [1, 2, 3, 4]} for one in (42.0, "7")],
    )
    data = opened(tmp_path)
    assert [record.id for record in data.records] == [42, 7]
    assert boxes_of(data) == [[[1, 2, 4, 6]], [[1, 2, 4, 6]]]


def test_one_file_under_two_ids_is_one_image_with_the_boxes_of_both(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    images = [{"id": i, "file_name": one} for i, one in enumerate(("a.jpg", "./a.jpg", "b.jpg"))]
    rows = [{"id": i, "image_id": i % 3, "category_id": 3, "bbox": [1 + (i > 3), 2, 3, 4]} for i in range(6)]
    write(images=images, annotations=rows)
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path)
    # 0 has a box twice, which stays; 1 has it, too, and another.
    assert boxes_of(data) == [[[1, 2, 4, 6], [1, 2, 4, 6], [2, 2, 5, 6]], [[1, 2, 4, 6], [2, 2, 5, 6]]]
    assert "1 files that are listed under several ids; their boxes are put together: a.jpg" in caplog.messages[0]


def test_two_files_under_one_id_are_refused(tmp_path: Path, write: Callable[..., None]) -> None:
    write(images=[{"id": 7, "file_name": "a.jpg"}, {"id": "7", "file_name": "b.jpg"}])
    with pytest.raises(ValueError, match=r"some\.json: the images 'a\.jpg' and 'b\.jpg' have the same id 7"):
        opened(tmp_path)


def test_paths_of_windows_and_paths_that_lead_out(
    tmp_path: Path, write: Callable[..., None], picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    outside = picture(tmp_path.parent / f"{tmp_path.name}-outside" / "secret.jpg")
    picture(tmp_path / "images" / "in" / "c.jpg")
    names = ["a.jpg", "in\\c.jpg", f"../../{outside.parent.name}/secret.jpg"]
    write(images=[{"id": i, "file_name": one} for i, one in enumerate(names)], annotations=[])
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path, max_bad=0.5)
    assert [record.path for record in data.records] == [tmp_path / "images" / one for one in ("a.jpg", "in/c.jpg")]
    assert "which leads out of" in caplog.text
    write(images=[{"id": 0, "file_name": str(outside)}], annotations=[])
    with pytest.raises(ValueError, match="which leads out of"):
        opened(tmp_path)


@pytest.mark.parametrize(("said", "ignored"), [("0", False), ("1", True), (False, False), (None, False), ("yes", True)])
def test_marks_as_text(tmp_path: Path, write: Callable[..., None], said: object, ignored: bool) -> None:
    write(annotations=[{"id": 1, "image_id": 42, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": said}])
    assert opened(tmp_path)[0].targets.ignore.tolist() == [ignored]


def test_areas_that_are_none_are_those_of_the_boxes(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"id": i, "image_id": 42, "category_id": 3, "bbox": [i, 2, 3, 4], "area": area}
        for i, area in enumerate((None, "NaN", [], 5, 0, -3))
    ]
    write(annotations=rows)
    with caplog.at_level(logging.WARNING):
        assert [one["area"] for one in opened(tmp_path).truth()["annotations"]] == [12, 12, 12, 5, 12, 12]
    assert "4 annotations whose area is no number above 0" in caplog.text


def test_declared_sizes_scale_the_boxes_or_leave_the_image_out(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    images = [
        {"id": 42, "file_name": "a.jpg", "height": 60, "width": 80},  # twice the size of the file
        {"id": 7, "file_name": "b.jpg", "height": 30, "width": 90},
    ]
    write(images=images)
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path, max_bad=0.5)
    assert [record.id for record in data.records] == [42]
    assert boxes_of(data) == [[[0, 0, 4, 2]]]
    assert "b.jpg" in caplog.text


def test_two_categories_under_one_id_are_refused_and_two_of_one_name_are_one_class(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    write(categories=[*content()["categories"], {"id": "3", "name": "bee"}])
    with pytest.raises(ValueError, match=r"some\.json: the categories 'ant' and 'bee' have the same id 3"):
        opened(tmp_path)
    write(categories=[*content()["categories"], {"id": 4, "name": "ant"}])
    with caplog.at_level(logging.WARNING):
        assert opened(tmp_path).class_names == ("zebra", "ant")
    assert "1 categories have the name of another and are one class with it" in caplog.text


def test_a_file_without_any_box_is_said(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    write(annotations=[])
    with caplog.at_level(logging.WARNING):
        assert len(opened(tmp_path)) == 2
    assert caplog.messages == ["coco/some.json: no box in any of 2 images"]


@pytest.mark.parametrize("box", [["1", "2", "3", "4"], [1.0, "2.0", 3, 4]])
def test_numbers_as_text(tmp_path: Path, write: Callable[..., None], box: list[object]) -> None:
    write(annotations=[{"id": 1, "image_id": 42, "category_id": 3, "bbox": box}])
    assert boxes_of(opened(tmp_path))[0] == [[1, 2, 4, 6]]


@pytest.mark.parametrize("box", [[1, 2, 3, 10**400], [1, 2, 3, None], {"x": 1}, "1 2 3 4", [True, 2, 3, 4], 5])
def test_boxes_of_other_types_are_left_out(
    tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture, box: object
) -> None:
    rows = [{"id": i, "image_id": 42, "category_id": 3, "bbox": [1, 2, 3, 4]} for i in range(2)]
    write(annotations=[*rows, {"id": 9, "image_id": 42, "category_id": 3, "bbox": box}])
    with caplog.at_level(logging.WARNING):
        assert boxes_of(opened(tmp_path))[0] == [[1, 2, 4, 6]] * 2
    assert "1 of 3 annotations left out: some.json: annotation 9 has bbox" in caplog.text


def test_shares_of_the_image_in_place_of_pixels_are_refused(tmp_path: Path, write: Callable[..., None]) -> None:
    write(annotations=[{"id": 1, "image_id": 42, "category_id": 3, "bbox": [0.1, 0.2, 0.3, 0.4]}])
    with pytest.raises(ValueError, match=r"coco/some\.json: every box lies in the first pixel.*shares of the image"):
        opened(tmp_path)


def test_an_outline_without_a_box(tmp_path: Path, write: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    outline = [[5, 6, 15, 6, 10, 20], [1, 8, 3, 8, 2, 9]]
    write(annotations=[{"id": 1, "image_id": 42, "category_id": 3, "bbox": [], "segmentation": outline}])
    with caplog.at_level(logging.WARNING):
        assert boxes_of(opened(tmp_path))[0] == [[1, 6, 15, 20]]
    assert "1 annotations without a box; that of the outline is used" in caplog.text


def test_deep_nesting_and_huge_numbers_are_one_line(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    for text in ("[" * 100_000, '{"images": ' + "9" * 5000 + "}"):
        (tmp_path / "some.json").write_text(text)
        with pytest.raises(ValueError, match=r"some\.json: ") as caught:
            opened(tmp_path)
        assert "\n" not in str(caught.value)
