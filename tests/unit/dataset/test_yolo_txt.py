from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsyolo.dataset.yolo_txt import YoloTxt, label_file

Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path, picture: Callable[..., Path]) -> Add:
    """Adds an image of 30x40 px (HxW) with its labels, if any, and writes `data.yaml`."""

    def add(name: str, labels: str | None, folder: str = "train/images") -> Path:
        image = picture(tmp_path / folder / f"{name}.png")
        (tmp_path / "data.yaml").write_text("path: .\ntrain: train/images\nval: val/images\nnames: [ant, bee]\n")
        if labels is not None:
            label_file(image).parent.mkdir(parents=True, exist_ok=True)
            label_file(image).write_text(labels)
        return image

    return add


def test_labels_are_shares_of_the_image(tmp_path: Path, add: Add) -> None:
    add("a", "1 0.5 0.5 0.25 0.2\n\n0 0.125 0.1 0.25 0.2\n")
    data = YoloTxt(tmp_path)
    assert data.class_names == ("ant", "bee")
    assert data.records[0].labels.tolist() == [1, 0]
    # 0.25 of 40 px is 10 px wide, 0.2 of 30 px is 6 px high.
    np.testing.assert_allclose(data.records[0].boxes_xyxy, [[15, 12, 25, 18], [0, 0, 10, 6]], atol=1e-9)


def test_an_image_without_labels_is_background(tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    add("a", None)
    add("b", "")
    with caplog.at_level(logging.WARNING):
        assert [len(record.labels) for record in YoloTxt(tmp_path).records] == [0, 0]
    assert caplog.messages == ["yolo_txt/train: no box in any of 2 images"]


def test_a_label_file_without_image_is_reported(tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    add("a", "0 0.5 0.5 0.1 0.1")
    (tmp_path / "train/labels/lost.txt").write_text("0 0.5 0.5 0.1 0.1")
    with caplog.at_level(logging.WARNING):
        assert len(YoloTxt(tmp_path)) == 1
    assert caplog.messages == ["yolo_txt/train: 1 label files without an image: lost.txt"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "expected `class x y width height`"),
        ("0 320 240 64 48", "these are no shares of the image"),
        ("1.5 0.5 0.5 0.1 0.1", "expected `class x y width height`"),
        ("ant 0.5 0.5 0.1 0.1", "expected `class x y width height`"),
        ("0 0.5 nan 0.1 0.1", "expected `class x y width height`"),
        ("2 0.5 0.5 0.1 0.1", "class 2; expected 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1; expected 0 to 1"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, add: Add, line: str, message: str) -> None:
    add("a", f"0 0.5 0.5 0.1 0.1\n{line}\n{line}\n")
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: .*{message}"):
        YoloTxt(tmp_path)


def test_boxes_outside_and_bad_images_are_reported(tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    add("a", "0 0.0 0.5 0.5 0.2\n0 0.5 0.5 -0.1 0.1\n")
    cut = add("cut", "0 0.5 0.5 0.1 0.1")
    cut.write_bytes(cut.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        data = YoloTxt(tmp_path)
    np.testing.assert_allclose(data.records[0].boxes_xyxy, [[0, 12, 10, 18]], atol=1e-9)
    assert caplog.messages == [
        "yolo_txt/train: 1 of 2 images left out: cut.png (cut off or damaged)",
        "yolo_txt/train: 1 boxes reach outside their image and are clipped: a.png",
        "yolo_txt/train: 1 boxes without any area left out: a.png",
    ]


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("d/train/images/x/a.jpg", "d/train/labels/x/a.txt"),
        ("d/images/train/a.png", "d/labels/train/a.txt"),
        ("images/d/images/a.png", "images/d/labels/a.txt"),
        ("d/a.png", "d/a.txt"),
    ],
)
def test_where_labels_are(image: str, labels: str) -> None:
    assert label_file(Path(image)) == Path(labels)


@pytest.mark.parametrize(
    "settings",
    [
        "train: images/train\nnames: {0: ant, 1: bee}\n",
        "train: ../images/train\nnames: [ant, bee]\n",
        "path: elsewhere\ntrain: [images/train]\nnames: [ant, bee]\n",
        "train: train.txt\nnames: [ant, bee]\n",
    ],
)
def test_the_ways_to_write_data_yaml(tmp_path: Path, add: Add, settings: str) -> None:
    add("a", "1 0.5 0.5 0.1 0.1", "images/train")
    (tmp_path / "train.txt").write_text("./images/train/a.png\n")
    (tmp_path / "data.yaml").write_text(settings)
    data = YoloTxt(tmp_path)
    assert data.class_names == ("ant", "bee")
    assert [record.labels.tolist() for record in data.records] == [[1]]


def test_given_class_names_win(tmp_path: Path, add: Add) -> None:
    add("a", "0 0.5 0.5 0.1 0.1")
    assert YoloTxt(tmp_path, class_names=["drone"]).class_names == ("drone",)


def test_limit_takes_the_first_images_by_name(tmp_path: Path, add: Add) -> None:
    for name in "cab":
        add(name, "")
    assert [record.name for record in YoloTxt(tmp_path, limit=2).records] == ["a.png", "b.png"]


def test_absent_data_says_what_is_expected(tmp_path: Path, add: Add) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: looked for it and found none; expected data\.yaml with"):
        YoloTxt(tmp_path)
    add("a", None)
    with pytest.raises(FileNotFoundError, match=r"val/images: .*data\.yaml names it as val, but there is none"):
        YoloTxt(tmp_path, "val")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("names: [a", "not YAML"),
        ("train: a\nnames: [a]\nnames: [b]\n", "names is given twice"),
        ("just words", "no keys"),
        ("train: train/images\n", "names=None; expected a list"),
        ("train: train/images\nnames: {1: ant}\n", "expected a list, or numbers from 0 on"),
        ("names: [ant]\n", "train=None; expected a folder of images"),
    ],
)
def test_a_bad_data_yaml_is_refused(tmp_path: Path, add: Add, settings: str, message: str) -> None:
    add("a", None)
    (tmp_path / "data.yaml").write_text(settings)
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{message}"):
        YoloTxt(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path, add: Add) -> None:
    add("a", "").unlink()
    with pytest.raises(ValueError, match=r"no usable image; looked in .*train/images"):
        YoloTxt(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/train", "labels/train"),
        ("train/images", "train/labels"),
        ("images/train", "images/train"),
        ("train", "train/labels"),
        ("images/train", "Labels/train"),
        ("train", "labels/train"),
        ("train", "labels"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".TXT"])
def test_labels_are_found_where_tools_put_them(
    tmp_path: Path, picture: Callable[..., Path], images: str, labels: str, suffix: str
) -> None:
    picture(tmp_path / images / "a.png")
    (tmp_path / "data.yaml").write_text(f"train: {images}\nnames: [ant, bee]\n")
    (tmp_path / labels).mkdir(parents=True, exist_ok=True)
    (tmp_path / labels / f"a{suffix}").write_text("1 0.5 0.5 0.5 0.5\n")
    assert YoloTxt(tmp_path).records[0].boxes_xyxy.tolist() == [[10, 7.5, 30, 22.5]]


def test_folders_through_links(tmp_path: Path, add: Add) -> None:
    add("a", "1 0.5 0.5 0.1 0.1", "real/images")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "images").symlink_to(tmp_path / "real" / "images")
    (tmp_path / "real" / "images" / "back").symlink_to(tmp_path / "real")  # leads back
    (tmp_path / "train" / "labels").symlink_to(tmp_path / "real" / "labels")
    assert [record.labels.tolist() for record in YoloTxt(tmp_path).records] == [[1]]


def test_a_set_without_its_labels_is_no_set_of_background(
    tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        add(name, None)
    add("d", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(ValueError, match=r"looked in .*train/labels.*; 3 of 4 images \(among them a\.png\) have no"):
        YoloTxt(tmp_path)
    with caplog.at_level(logging.INFO):
        assert len(YoloTxt(tmp_path, max_background=1)) == 4
    assert "3 of 4 images have no label file and are background; looked in" in caplog.text


def test_one_odd_row_is_left_out(tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    add("a", "0 0.5 0.5 0.1 0.1\nrubbish\n1 0.5 0.5 0.1 0.1\n")
    with caplog.at_level(logging.WARNING):
        assert YoloTxt(tmp_path).records[0].labels.tolist() == [0, 1]
    assert "1 of 3 annotations left out: a.txt, line 2" in caplog.text
