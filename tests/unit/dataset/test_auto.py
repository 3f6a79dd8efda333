"""What a folder is taken for, how it is divided, and what is said of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emsyolo.dataset.auto import Auto
from emsyolo.dataset.images import ImageDataset

Photos = Callable[..., None]
File = Callable[[str, str], Path]


def opened(tmp_path: Path, **options: Any) -> tuple[Auto, Auto]:
    root = tmp_path / "my set"
    return Auto(root, "train", **options), Auto(root, "val", **options)


def names(data: ImageDataset) -> set[str]:
    return {record.name for record in data.records}


def xml(*objects: tuple[str, int, int, int, int], size_hw: tuple[int, int] = (30, 40)) -> str:
    """As VOC has it: counted from 1."""
    return (
        f"<annotation><size><width>{size_hw[1]}</width><height>{size_hw[0]}</height></size>"
        + "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            "</bndbox></object>"
            for name, x0, y0, x1, y1 in objects
        )
        + "</annotation>"
    )


CAT = xml(("cat", 5, 7, 20, 27))


@pytest.fixture
def pets(photos: Photos, file: File) -> Callable[..., None]:
    """Images with a cat each, as VOC's XML beside them."""

    def write(*stems: str) -> None:
        for stem in stems:
            photos(f"{stem}.jpg")
            file(f"{stem}.xml", CAT)

    return write


def test_two_lines_say_what_was_found_once(
    tmp_path: Path, pets: Callable[..., None], photos: Photos, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b", "c")
    photos("unlabelled.jpg")
    with caplog.at_level(logging.INFO):
        opened(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "my set: read as voc (*.xml): 3 images, 3 boxes, 1 class: cat; 1 images without annotations are not used",
        "my set: no split, so 2 images to train on and 1 to validate on, by a hash of their names "
        "(dataset.val_share=0.2, dataset.split_seed=0)",
    ]


def test_a_division_by_names_stays_when_images_come_and_go(tmp_path: Path, pets: Callable[..., None]) -> None:
    stems = [f"photo {i}" for i in range(40)]
    pets(*stems)
    train, val = opened(tmp_path)
    assert not names(train) & names(val)
    assert len(train) + len(val) == 40
    assert 3 <= len(val) <= 14  # 8 on average, standard deviation 2.5
    pets("one more")
    more = opened(tmp_path)
    assert names(train) <= names(more[0])
    assert names(val) <= names(more[1])
    assert names(opened(tmp_path, split_seed=1)[1]) != names(more[1])
    moved = Auto(tmp_path, "val")  # the folder above
    assert names(moved) == names(more[1])
    half = opened(tmp_path, val_share=0.5)
    assert names(more[1]) < names(half[1])


def test_two_images_are_one_to_train_on_and_one_to_validate_on(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("a", "b")
    for share in (0.001, 0.999):
        assert [len(data) for data in opened(tmp_path, val_share=share)] == [1, 1]


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(tmp_path: Path, pets: Callable[..., None], share: float) -> None:
    pets("a", "b")
    with pytest.raises(ValueError, match=rf"dataset\.val_share={share}: expected a share of the images"):
        Auto(tmp_path, val_share=share)


def test_all_images_can_be_validated_on(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("a", "b")
    assert len(Auto(tmp_path, "val", val_share=1)) == 2
    with pytest.raises(ValueError, match=r"dataset\.val_share=1 leaves no image to train on"):
        Auto(tmp_path, "train", val_share=1)


def test_one_image_is_too_few(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("a")
    with pytest.raises(ValueError, match=r"a\.jpg: the only image with annotations; expected two"):
        Auto(tmp_path)


def test_folders_marked_for_training_only_are_divided_with_the_rest(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("train/a", "train/b", "bus/c", "car/d")  # folders of classes
    train, val = opened(tmp_path)
    assert names(train) | names(val) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg"}


def test_folders_not_marked_are_trained_on_where_others_are_held_out(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("val/a", "photos/b", "photos/c")
    train, val = opened(tmp_path)
    assert (names(train), names(val)) == ({"b.jpg", "c.jpg"}, {"a.jpg"})


def test_classes_that_occur_in_one_set_only_are_classes_of_both(tmp_path: Path, photos: Photos, file: File) -> None:
    for stem, name in {"train/a": "dog", "train/b": "cat", "val/c": "ant"}.items():
        photos(f"{stem}.jpg")
        file(f"{stem}.xml", xml((name, 1, 1, 9, 9)))
    train, val = opened(tmp_path)
    assert train.class_names == val.class_names == ("ant", "cat", "dog")
    assert [record.labels.tolist() for record in (*train.records, *val.records)] == [[2], [1], [0]]
    train, val = opened(tmp_path, class_names=["cat", "cow", "dog", "ant"])
    assert [record.labels.tolist() for record in (*train.records, *val.records)] == [[2], [0], [3]]
    with pytest.raises(ValueError, match=r"my set: unknown class 'ant'; .*type dataset\.class_names=\[ant,cat,dog\]"):
        opened(tmp_path, class_names=["cat", "dog"])


def test_typed_names_give_the_order_of_named_classes_and_name_the_others(
    tmp_path: Path, photos: Photos, file: File
) -> None:
    photos("a.jpg", "b.jpg")
    file("a.txt", "0 0.5 0.5 0.5 0.5\n")
    file("b.txt", "1 0.5 0.5 0.5 0.5\n")
    file("classes.txt", "cat\ndog\n")

    def labels(*typed: str) -> list[int]:
        train, val = opened(tmp_path, class_names=typed)
        assert train.class_names == typed
        return [r.labels[0] for r in sorted((*train.records, *val.records), key=lambda record: record.name)]

    assert labels("dog", "cow", "cat") == [2, 0]
    assert labels("Katze", "Hund") == [0, 1]


def test_the_form_of_most_images_is_read_and_another_can_be_chosen(
    tmp_path: Path, pets: Callable[..., None], photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    """As in the raccoon data set: XML files, and CSV files of most of them."""
    pets("images/a", "images/b", "images/c")
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    file("data/train_labels.csv", header + "a.jpg,40,30,cat,5,7,20,27\n")
    file("data/test_labels.csv", header + "b.jpg,40,30,cat,5,7,20,27\n")
    with caplog.at_level(logging.INFO):
        assert sum(map(len, opened(tmp_path))) == 3
    assert "my set: read as voc (images/*.xml): 3 images" in caplog.text
    said = (
        "also there: csv (data/test_labels.csv, data/train_labels.csv, 2 images with boxes); dataset.format=csv reads"
    )
    assert said in caplog.text
    train, val = opened(tmp_path, format="csv")
    assert (names(train), names(val)) == ({"a.jpg"}, {"b.jpg"})
    assert train.records[0].boxes_xyxy.tolist() == [[5, 7, 20, 27]]
    photos("images/d.jpg", "images/e.jpg")
    file("data/more_train.csv", header + "".join(f"{stem}.jpg,40,30,dog,5,7,20,27\n" for stem in "cde"))
    assert sum(map(len, opened(tmp_path))) == 5


def test_of_forms_that_are_as_good_the_order_decides(
    tmp_path: Path, pets: Callable[..., None], file: File, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b", "c")
    for stem in "abc":
        file(f"{stem}.txt", "0 0.5 0.5 0.5 0.5\n")
    with caplog.at_level(logging.INFO):
        assert opened(tmp_path)[0].class_names == ("cat",)  # the other classes have no names
        file("classes.txt", "dog\n")
        assert opened(tmp_path)[0].class_names == ("dog",)
    assert "read as voc" in caplog.messages[0]
    assert "also there: yolo (*.txt, 3 images with boxes)" in caplog.messages[0]
    assert "read as yolo" in caplog.messages[2]


def test_a_broken_form_does_not_stand_in_the_way_of_a_whole_one(
    tmp_path: Path, pets: Callable[..., None], file: File, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b")
    file("coco.json", '{"images": [], "annotations": [], "categories": [')
    with caplog.at_level(logging.WARNING):
        assert sum(map(len, opened(tmp_path))) == 2
    assert re.search(r"not read as coco: \S*.*coco\.json: not whole JSON", caplog.text)
    with pytest.raises(ValueError, match=r"coco\.json: not whole JSON"):
        opened(tmp_path, format="coco")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {},
            r"my set: no images; looked in \. and saw no file; expected photographs, archives unpacked, and their",
        ),
        (
            {"a/x.pdf": "", "a/y.pdf": "", "b/notes": "", "set.zip": ""},
            r"my set: no images; looked in \., a, b and saw 2 \.pdf, 1 without suffix, 1 \.zip; expected photographs",
        ),
        (
            {"a.jpg": "", "pictures/b.jpg": "", "readme.txt": "hello\n", "results.csv": "epoch,loss\n1,2\n"},
            r"my set: 2 images and no boxes for them; looked in \., pictures and saw 2 \.jpg, 1 \.txt, 1 \.csv; "
            r"expected a data\.yaml .*type python predict\.py source=",
        ),
        ({"a.xml": CAT, "b.xml": CAT}, r"a\.xml: no image 'a' in the folder \(2 of the 2 images of my set cannot be"),
        ({"a.jpg": "", "a.txt": "0 200 10 40 40\n"}, r"a\.txt, line 1: '0 200 .*these are no shares .*: pixels\?"),
        ({"a.jpg": "", "a.xml": xml()}, r"my set: read as voc \(a\.xml\), it has not a single box"),
    ],
)
def test_one_line_says_what_was_seen_where_nothing_is_found(
    tmp_path: Path, photos: Photos, file: File, files: dict[str, str], expected: str
) -> None:
    (tmp_path / "my set").mkdir()
    for name, text in files.items():
        if name.endswith(".jpg"):
            photos(name)
        else:
            file(name, text)
    with pytest.raises(ValueError, match=expected) as error:
        opened(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_none(tmp_path: Path, pets: Callable[..., None]) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; type dataset\.root=FOLDER"):
        Auto(tmp_path / "nowhere")
    pets("a", "b")
    with pytest.raises(ValueError, match=r"a\.xml is a file; expected the folder that it lies in"):
        Auto(tmp_path / "my set" / "a.xml")
    with pytest.raises(ValueError, match=r"dataset\.format=pascal: expected one of yolo, voc, coco, cvat"):
        Auto(tmp_path, format="pascal")
    with pytest.raises(ValueError, match=r"nothing to be read as dataset\.format=coco; looked in \., my set and saw"):
        Auto(tmp_path, format="coco")


def test_images_that_are_not_there_are_left_out_up_to_a_share(
    tmp_path: Path, pets: Callable[..., None], file: File, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b", "c")
    file("gone.xml", CAT)
    with caplog.at_level(logging.WARNING):
        assert sum(map(len, opened(tmp_path))) == 3
    assert "my set: 1 of 4 images left out: gone.xml: no image 'gone' in the folder" in caplog.text
    file("gone too.xml", CAT)
    with pytest.raises(ValueError, match=r"2 of the 5 images of my set cannot be used; dataset\.max_bad=0\.05"):
        opened(tmp_path)
    assert sum(map(len, opened(tmp_path, max_bad=0.5))) == 3


def test_label_files_without_an_image_count_as_well(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    for stem in "abc":
        photos(f"images/{stem}.jpg")
        file(f"labels/{stem}.txt", "0 0.5 0.5 0.5 0.5\n")
    file("labels/gone.txt", "0 0.5 0.5 0.5 0.5\n")
    file("labels/notes.txt", "labelled by hand\n")
    with caplog.at_level(logging.WARNING):
        assert sum(map(len, opened(tmp_path))) == 3
    assert "my set: 1 of 4 images left out: gone.txt: no image 'gone' in the folder" in caplog.text


def test_yolos_images_without_labels_are_background_where_others_have_some(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    photos("images/a.jpg", "images/b.jpg", "images/empty.jpg", "images/none.jpg", "banner.jpg")
    for stem in "ab":
        file(f"labels/{stem}.txt", "0 0.5 0.5 0.5 0.5\n")
    file("labels/empty.txt", "")
    with caplog.at_level(logging.INFO):
        train, val = opened(tmp_path)
    assert names(train) | names(val) == {"a.jpg", "b.jpg", "empty.jpg", "none.jpg"}
    assert "1 images have no label file and are background; 1 images without annotations are not used" in caplog.text
    photos("images/x.jpg", "images/y.jpg", "images/z.jpg")
    with pytest.raises(ValueError, match=r"4 of 7 images \(among them none\.jpg\) have no label file"):
        opened(tmp_path)
    assert sum(map(len, opened(tmp_path, max_background=1))) == 7


def test_the_nearest_of_several_images_of_a_name_is_meant(tmp_path: Path, photos: Photos, file: File) -> None:
    for split in ("train", "val"):
        photos(f"images/{split}/0001.jpg")
        file(f"annotations/{split}/0001.xml", xml(("cat", 1, 1, 9 if split == "val" else 20, 9)))
    train, val = opened(tmp_path)
    assert train.records[0].boxes_xyxy.tolist() == [[0, 0, 20, 9]]
    assert val.records[0].boxes_xyxy.tolist() == [[0, 0, 9, 9]]


def test_an_image_that_may_be_either_is_refused(tmp_path: Path, photos: Photos, file: File) -> None:
    photos("monday/0001.jpg", "tuesday/0001.jpg", "tuesday/0002.jpg")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content = {
        "images": [{"id": 1, "file_name": "0001.jpg"}, {"id": 2, "file_name": "0002.jpg"}],
        "annotations": [box, box | {"id": 2, "image_id": 2}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file("labels.json", json.dumps(content))
    with pytest.raises(
        ValueError,
        match=r"labels\.json: 0001\.jpg may be monday/0001\.jpg, tuesday/0001\.jpg; expected one of this name",
    ):
        opened(tmp_path)
    content["images"][0]["file_name"] = "tuesday/0001.jpg"
    file("labels.json", json.dumps(content))
    train, val = opened(tmp_path)
    assert {record.path.parent.name for record in (*train.records, *val.records) if record.path} == {"tuesday"}


def test_two_data_sets_in_one_folder_are_refused(tmp_path: Path, photos: Photos, file: File) -> None:
    for name in ("one", "two"):
        photos(f"{name}/images/a.jpg")
        file(f"{name}/labels/a.txt", "0 0.5 0.5 0.5 0.5\n")
        file(f"{name}/data.yaml", "train: images\nval: images\nnames: [cat]\n")
    with pytest.raises(ValueError, match=r"several data sets, one/data\.yaml, two/data\.yaml; type dataset\.root="):
        opened(tmp_path)
    assert len(Auto(tmp_path / "my set" / "two")) == 1


def test_lists_of_names_that_differ_are_refused(tmp_path: Path, photos: Photos, file: File) -> None:
    for split, listed in {"train": "cat\ndog\n", "val": "dog\ncat\n"}.items():
        photos(f"{split}/{split}.jpg")
        file(f"{split}/{split}.txt", "0 0.5 0.5 0.5 0.5\n")
        file(f"{split}/classes.txt", listed)
    with pytest.raises(ValueError, match=r"classes\.txt and .*classes\.txt list other class names; expected the same"):
        opened(tmp_path)


def test_what_systems_leave_behind_is_not_seen(
    tmp_path: Path, pets: Callable[..., None], photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b")
    for folder in ("__MACOSX", ".ipynb_checkpoints", "images/.thumbnails"):
        photos(f"{folder}/a.jpg")
        file(f"{folder}/a.xml", CAT)
    for name in ("._a.jpg", "._a.xml", ".DS_Store"):
        file(name, "\0\5\26\7")
    with caplog.at_level(logging.INFO):
        train, val = opened(tmp_path)
    assert names(train) | names(val) == {"a.jpg", "b.jpg"}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    "image",
    ["a b.jpg", "фото.jpg", "deep/er/er/a.JPEG", "a.b.c.jpg", "100%.jpg", "a,b;c.jpg", "Cafe\u0301.jpg", "a[1].png"],
)  # fmt: skip
def test_names_of_every_kind(tmp_path: Path, photos: Photos, file: File, image: str) -> None:
    photos(image, "other.jpg")
    file(f"{image.rpartition('.')[0]}.xml".replace("e\u0301", "\u00e9"), CAT)  # composed on one system, not on another
    file("other.xml", CAT)
    train, val = opened(tmp_path)
    assert {record.path for record in (*train.records, *val.records)} == {
        tmp_path / "my set" / image, tmp_path / "my set" / "other.jpg",
    }  # fmt: skip


def test_boxes_of_upright_images_are_turned_to_the_stored_pixels(
    tmp_path: Path, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    for stem in "ab":
        file(f"{stem}.xml", xml(("cat", 1, 1, 10, 20), size_hw=(40, 30)))
        Image.new("RGB", (40, 30)).save(tmp_path / "my set" / f"{stem}.jpg", exif=exif)
    with caplog.at_level(logging.WARNING):
        train, _ = opened(tmp_path)
    # x of the upright image runs up the stored one, whose height is 30; y runs along it.
    assert train.records[0].boxes_xyxy.tolist() == [[0, 20, 20, 30]]
    assert "annotations are of the upright image" in caplog.text


def test_images_of_another_size_than_stated(
    tmp_path: Path, pets: Callable[..., None], photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    pets("a", "b")
    file("a.xml", xml(("cat", 1, 1, 40, 60), size_hw=(60, 80)))
    with caplog.at_level(logging.WARNING):
        found = {record.name: record.boxes_xyxy.tolist() for data in opened(tmp_path) for record in data.records}
    assert found["a.jpg"] == [[0, 0, 20, 30]]
    assert "are not of the size that their annotations state; the boxes are scaled" in caplog.text


def test_a_folder_that_changes_is_read_again(tmp_path: Path, pets: Callable[..., None], file: File) -> None:
    pets("a", "b")
    assert opened(tmp_path)[0].class_names == ("cat",)
    file("a.xml", xml(("ant", 1, 1, 9, 9), ("cat", 2, 2, 8, 8)))
    assert opened(tmp_path)[0].class_names == ("ant", "cat")


def test_a_limit_takes_the_first_by_name(tmp_path: Path, pets: Callable[..., None]) -> None:
    pets("train/b", "train/a", "train/c", "val/d")
    assert [record.name for record in Auto(tmp_path, "train", limit=2).records] == ["a.jpg", "b.jpg"]
