"""Every form of annotations, in every layout, gives the boxes that were written by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emsyolo.dataset.auto import Auto
from emsyolo.dataset.images import ImageDataset

Photos = Callable[..., None]
File = Callable[[str, str], Path]
Found = dict[str, list[tuple[str, list[float]]]]

# Images of 30 x 40 px (height x width).
TRUTH: Found = {
    "a.png": [("cat", [4, 6, 20, 27])],
    "b.png": [("dog", [0, 0, 10, 15]), ("cat", [12, 3, 40, 30])],
    "c.png": [("ant", [1, 3, 5, 9])],
}
# class, centre, size: cat 0, dog 1, ant 2
YOLO = {
    "a": "0 0.3 0.55 0.4 0.7\n",
    "b": "1 0.125 0.25 0.25 0.5\n0 0.65 0.55 0.7 0.9\n",
    "c": "2 0.075 0.2 0.1 0.2\n",
}
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
VOC = {  # counted from 1
    "a": OBJECT.format("cat", 5, 7, 20, 27),
    "b": OBJECT.format("dog", 1, 1, 10, 15) + OBJECT.format("cat", 13, 4, 40, 30),
    "c": OBJECT.format("ant", 2, 4, 5, 9),
}
COCO = {"a": [(4, [4, 6, 16, 21])], "b": [(7, [0, 0, 10, 15]), (4, [12, 3, 28, 27])], "c": [(9, [1, 3, 4, 6])]}
CORNERS = {
    "a": ["cat 4 6 20 27"],
    "b": ["dog 0 0 10 15", "cat 12 3 40 30"],
    "c": ["ant 1 3 5 9"],
}


def opened(tmp_path: Path, **options: Any) -> tuple[Auto, Auto]:
    root = tmp_path / "my set"
    return Auto(root, "train", **options), Auto(root, "val", **options)


def boxes(*sets: ImageDataset, digits: int = 6) -> Found:
    return {
        record.path.name: [
            (data.class_names[label], [round(float(end), digits) for end in box])
            for label, box in zip(record.labels, record.boxes_xyxy, strict=True)
        ]
        for data in sets
        for record in data.records
        if record.path is not None
    }


def names(data: ImageDataset) -> list[str]:
    return sorted(record.name for record in data.records)


def xml(name: str) -> str:
    return (
        f"<annotation><filename>{name}.png</filename><size><width>40</width><height>30</height></size>"
        f"{VOC[name]}</annotation>"
    )


def coco(*images: str, folder: str = "", categories: tuple[str, ...] = ("cat", "dog", "ant")) -> str:
    ids = {"cat": 4, "dog": 7, "ant": 9}
    return json.dumps(
        {
            "images": [
                {"id": i, "file_name": f"{folder}{name}.png", "height": 30, "width": 40}
                for i, name in enumerate(images)
            ],
            "annotations": [
                {"id": 10 * i + j, "image_id": i, "category_id": category, "bbox": box}
                for i, name in enumerate(images)
                for j, (category, box) in enumerate(COCO[name])
            ],
            "categories": [{"id": ids[name], "name": name, "supercategory": "none"} for name in categories],
        }
    )


def labelme(name: str, path: str, *, shape: str = "rectangle", **more: object) -> str:
    shapes = []
    for row in CORNERS[name]:
        label, *ends = row.split()
        x0, y0, x1, y1 = map(float, ends)
        rectangle = [[x1, y0], [x0, y1]]
        polygon = [[x0, (y0 + y1) / 2], [x1, y0], [(x0 + x1) / 2, y1]]
        points = rectangle if shape == "rectangle" else polygon
        shapes.append({"label": label, "points": points, "shape_type": shape, "group_id": None, "flags": {}})
    return json.dumps(
        {"version": "5.4", "shapes": shapes, "imagePath": path, "imageHeight": 30, "imageWidth": 40} | more
    )


def cvat(*images: str, subset: str | None = None) -> str:
    rows = []
    for i, name in enumerate(images):
        rows.append(
            f'<image id="{i}" name="{name}.png" width="40" height="30"{f" subset={subset!r}" if subset else ""}>'
        )
        for row in CORNERS[name]:
            label, x0, y0, x1, y1 = row.split()
            rows.append(f'<box label="{label}" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" z_order="0"/>')
        rows.append("</image>")
    return f"<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>{''.join(rows)}</annotations>"


def rows(*images: str, form: str) -> str:
    """The rows of a CSV file: {0} the name, {1} the class, {2} to {5} the ends."""
    return "".join(form.format(name, *row.split()) + "\n" for name in images for row in CORNERS[name])


RETINA = "{0}.png,{2},{3},{4},{5},{1}"
TF = "{0}.png,40,30,{1},{2},{3},{4},{5}"
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("layout", "named"),
    [
        (("train/images/{}.png", "train/labels/{}.txt", "valid/images/{}.png", "valid/labels/{}.txt"), "classes.txt"),
        (("images/train/{}.png", "labels/train/{}.txt", "images/val/{}.png", "labels/val/{}.txt"), "data/obj.names"),
        (("export/v1/train/{}.png", "export/v1/train/{}.txt", "export/v1/Test/{}.png", "export/v1/Test/{}.txt"),
         "export/v1/birds.names"),
        (("images/{}.png", "labels/{}.txt"), "labels/classes.txt"),
        (("{}.png", "{}.txt"), "classes.txt"),
        (("obj_train_data/{}.png", "obj_train_data/{}.txt"), "obj.names"),
        (("photos/{}.png", "yolo rows/{}.txt"), "classes.txt"),
    ],
)  # fmt: skip
def test_yolo_without_a_yaml(tmp_path: Path, photos: Photos, file: File, layout: tuple[str, ...], named: str) -> None:
    for i, (name, text) in enumerate(YOLO.items()):
        image, label = layout[2:] if len(layout) == 4 and i == 2 else layout[:2]
        photos(image.format(name))
        file(label.format(name), text)
    file(named, "cat\ndog\nant\n")
    train, held = opened(tmp_path)
    assert boxes(train, held) == TRUTH
    assert train.class_names == held.class_names == ("cat", "dog", "ant")
    assert len(train) + len(held) == 3
    assert len(held) >= 1
    if len(layout) == 4:
        assert names(held) == ["c.png"]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog, ant]\n"),
        ("data.yaml", "train: ../images/train\nval: ../images/val\nnc: 3\nnames: [cat, dog, ant]\n"),
        (
            "cats.yml",
            "path: /of/another/machine\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog, 2: ant}\n",
        ),
        ("data.yaml", "names: [cat, dog, ant]\n"),
        ("data.yaml", "train: /of/another/machine\nval: C:\\nowhere\nnames: [cat, dog, ant]\n"),
    ],
)
@pytest.mark.parametrize("folder", ["", "export/"])
def test_yolo_with_a_yaml(tmp_path: Path, photos: Photos, file: File, place: str, text: str, folder: str) -> None:
    for name, split in {"a": "train", "b": "train", "c": "val"}.items():
        photos(f"{folder}images/{split}/{name}.png")
        file(f"{folder}labels/{split}/{name}.txt", YOLO[name])
    file(f"{folder}{place}", text)
    train, val = opened(tmp_path)
    assert boxes(train) == {name: TRUTH[name] for name in ("a.png", "b.png")}
    assert boxes(val) == {"c.png": TRUTH["c.png"]}
    assert train.class_names == ("cat", "dog", "ant")


def test_a_yaml_may_name_one_folder_twice(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in YOLO.items():
        photos(f"images/{name}.png")
        file(f"labels/{name}.txt", text)
    file("data.yaml", "train: images\nval: images\nnames: [cat, dog, ant]\n")
    with caplog.at_level(logging.INFO):
        train, val = opened(tmp_path)
    assert boxes(train) == boxes(val) == TRUTH
    assert "3 images to train on and 3 to validate on, as the folder has them; 3 are in both" in caplog.text


def test_classes_without_names_are_numbers(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in YOLO.items():
        photos(f"{name}.png")
        file(f"{name}.txt", text.replace("2 ", "11 ", 1))
    with caplog.at_level(logging.INFO):
        train, val = opened(tmp_path)
    assert train.class_names == val.class_names == tuple(map(str, range(12)))
    assert boxes(train, val)["c.png"] == [("11", [1, 3, 5, 9])]
    assert "no classes.txt or data.yaml names the classes, so they are called by their numbers" in caplog.text
    named = opened(tmp_path, class_names=["cat", "dog", *map(str, range(2, 11)), "ant"])
    assert boxes(*named) == TRUTH


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("JPEGImages/{}.png", "Annotations/{}.xml"),
        ("VOCdevkit/VOC2012/JPEGImages/{}.png", "VOCdevkit/VOC2012/Annotations/{}.xml"),
        ("images/{}.png", "annotations/{}.xml"),
        ("images/{}.png", "annotations/xmls/{}.xml"),
        ("{}.png", "{}.xml"),
        ("data/pictures/{}.png", "data/boxes/{}.XML"),
        ("images/{}.PNG", "annotations/{}.xml"),
    ],
)
def test_voc_in_any_folders(tmp_path: Path, photos: Photos, file: File, image: str, label: str) -> None:
    for name in VOC:
        photos(image.format(name))
        file(label.format(name), xml(name))
    train, val = opened(tmp_path)
    assert {name.lower(): some for name, some in boxes(train, val).items()} == TRUTH
    assert train.class_names == val.class_names == ("ant", "cat", "dog")
    assert (len(train), len(val)) == (2, 1)


@pytest.mark.parametrize(
    ("place", "lines", "held"),
    [
        ("ImageSets/Main/{}.txt", "{}\n", "val"),
        ("{}.txt", "{}.png\n", "test"),
        ("splits/{}.txt", "/of/another/machine/images/{}.png\r\n", "validation"),
        ("ImageSets/{}.txt", "{}  1\n", "val"),
        ("lists/{}.txt", "{} 1 1 2\n", "test"),
        ("{}.txt", "images/{0}.png annotations/{0}.xml\n", "valid"),
    ],
)
def test_lists_of_the_split(
    tmp_path: Path, photos: Photos, file: File, place: str, lines: str, held: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in VOC:
        photos(f"images/{name}.png")
        file(f"annotations/{name}.xml", xml(name))
    file(place.format("train"), lines.format("c"))
    file(place.format(held), lines.format("a"))
    with caplog.at_level(logging.INFO):
        train, val = opened(tmp_path)
    assert boxes(train) == {"c.png": TRUTH["c.png"]}
    assert boxes(val) == {"a.png": TRUTH["a.png"]}
    assert train.class_names == ("ant", "cat", "dog")
    assert "1 of no split or of the test set are not used" in caplog.text
    assert ("the test images, since there are none for validation" in caplog.text) == (held == "test")


def test_trainval_counts_where_there_is_no_train_and_other_tasks_do_not(
    tmp_path: Path, photos: Photos, file: File
) -> None:
    for name in VOC:
        photos(f"JPEGImages/{name}.png")
        file(f"Annotations/{name}.xml", xml(name))
    file("ImageSets/Segmentation/train.txt", "c\n")
    file("ImageSets/Segmentation/val.txt", "b\n")
    file("ImageSets/Main/cat_train.txt", "c -1\n")
    file("ImageSets/Main/trainval.txt", "a\nb\n")
    file("ImageSets/Main/test.txt", "c\n")
    train, val = opened(tmp_path)
    assert (names(train), names(val)) == (["a.png", "b.png"], ["c.png"])


def test_xml_in_folders_of_the_split(tmp_path: Path, photos: Photos, file: File) -> None:
    for name, split in {"a": "test", "b": "train", "c": "train"}.items():
        photos(f"images/{split}/{name}.png")
        file(f"images/{split}/{name}.xml", xml(name))
    train, val = opened(tmp_path)
    assert (names(train), names(val)) == (["b.png", "c.png"], ["a.png"])
    assert boxes(train, val) == TRUTH


def test_an_xml_file_of_a_renamed_image(tmp_path: Path, photos: Photos, file: File) -> None:
    photos("images/a.png", "images/b.png", "images/c.png")
    file("annotations/a.xml", xml("a").replace("a.png", "a.jpg"))  # the image was converted
    file("annotations/b.png.xml", xml("b"))
    file("annotations/0001.xml", xml("c"))
    assert boxes(*opened(tmp_path)) == TRUTH


@pytest.mark.parametrize(
    ("image", "files"),
    [
        ("images/{}.png", {"result.json": "abc"}),
        (
            "some/where/{}.png",
            {"annotations/instances_train2017.json": "ab", "annotations/instances_val2017.json": "c"},
        ),
        ("{}.png", {"my_train.json": "ab", "my_test.json": "c"}),
        ("photos/{}.png", {"annotations.json": "abc", "annotations_val.json": "c"}),
    ],
)
@pytest.mark.parametrize("folder", ["", "images/", "C:\\\\pictures\\\\"])
def test_coco(tmp_path: Path, photos: Photos, file: File, image: str, files: dict[str, str], folder: str) -> None:
    photos(*(image.format(name) for name in "abc"))
    for place, images in files.items():
        file(place, coco(*images, folder=folder.replace("\\\\", "\\")))
    train, val = opened(tmp_path)
    assert boxes(train, val) == TRUTH
    assert train.class_names == ("cat", "dog", "ant")  # of the file
    if len(files) == 2:
        assert names(val) == ["c.png"]


def test_roboflows_coco_and_its_category_of_categories(tmp_path: Path, photos: Photos, file: File) -> None:
    for split, images in {"train": "ab", "valid": "c"}.items():
        photos(*(f"{split}/{name}.png" for name in images))
        content = json.loads(coco(*images))
        content["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"}] + [
            {**category, "supercategory": "pets"} for category in content["categories"]
        ]
        file(f"{split}/_annotations.coco.json", json.dumps(content))
    train, val = opened(tmp_path)
    assert train.class_names == ("cat", "dog", "ant")
    assert (names(train), names(val)) == (["a.png", "b.png"], ["c.png"])
    assert boxes(train, val) == TRUTH


def test_coco_keeps_crowds_and_areas_and_other_files_of_the_same_images_add_nothing(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    photos("a.png", "b.png")
    content = json.loads(coco("a", "b"))
    content["annotations"][0] |= {"iscrowd": 1, "area": 100}
    file("annotations/instances_train.json", json.dumps(content))
    file("annotations/person_keypoints_train.json", json.dumps(content))
    file("annotations/panoptic_train.json", json.dumps(content | {"annotations": [{"segments_info": []}]}))
    with caplog.at_level(logging.WARNING):
        train, val = opened(tmp_path)
    record = next(record for data in (train, val) for record in data.records if record.name == "a.png")
    assert (record.crowd.tolist(), record.area.tolist(), record.boxes_xyxy.tolist()) == (
        [True],
        [100],
        [[4, 6, 20, 27]],
    )
    assert not caplog.records


@pytest.mark.parametrize(
    "files",
    [
        {"boxes.csv": rows(*"abc", form="img/{0}.png,{2},{3},{4},{5},{1}")},
        {"boxes.csv": rows(*"abc", form=f"/of/another/machine/{RETINA}"), "c.csv": "cat,0\ndog,1\nant,2\n"},
        {"train.csv": rows(*"ab", form=RETINA), "val.csv": rows("c", form=RETINA)},
        {"data/raccoon_labels.csv": HEADER + rows(*"abc", form=TF)},
        {"data/labels.csv": (HEADER + rows(*"abc", form=TF)).replace(",", ";")},
        {"data/labels.tsv": (HEADER + rows(*"abc", form=TF)).replace(",", "\t")},
        {
            "train_labels.csv": HEADER + rows(*"ab", form=TF),
            "test_labels.csv": HEADER + rows("c", form=TF),
            "all_labels.csv": HEADER + rows(*"abc", form=TF),
        },
        {"b.csv": "label,ymax,xmax,ymin,xmin,image\n" + rows(*"abc", form="{1},{5},{4},{3},{2},{0}")},
        {"b.csv": "frame,x1,x2,y1,y2,class_id\n" + rows(*"abc", form='"{0}.png", {2}, {4}, {3}, {5}, {1}')},
        {"b.csv": "Image Path;Y_Min;Y_Max;X_Min;X_Max;Class\n" + rows(*"abc", form="{0}.png;{3},0;{5};{2},0;{4};{1}")},
        {"b.csv": "file,x0,y0,x1,y1,category\n" + rows(*"abc", form=RETINA)},
    ],
)  # fmt: skip
def test_csv(tmp_path: Path, photos: Photos, file: File, files: dict[str, str]) -> None:
    photos(*(f"img/{name}.png" for name in "abc"))
    for place, text in files.items():
        file(place, text)
    train, val = opened(tmp_path)
    assert boxes(train, val) == TRUTH
    assert train.class_names == (("cat", "dog", "ant") if "c.csv" in files else ("ant", "cat", "dog"))
    if "train" in min(files, key=len):
        assert names(val) == ["c.png"]


def test_a_csv_row_without_a_box_is_background(tmp_path: Path, photos: Photos, file: File) -> None:
    photos(*(f"{name}.png" for name in "abcd"))
    file("boxes.csv", rows(*"abc", form=RETINA) + "d.png,,,,,\n")
    assert boxes(*opened(tmp_path)) == TRUTH | {"d.png": []}


@pytest.mark.parametrize("shape", ["rectangle", "polygon"])
@pytest.mark.parametrize(
    ("image", "label", "path"),
    [
        ("{}.png", "{}.json", "{}.png"),
        ("images/{}.png", "json/{}.json", "..\\images\\{}.png"),
        ("train/{}.png", "train/{}.json", "/of/another/machine/{}.png"),
        ("images/{}.png", "labels/{}.json", "renamed.png"),
    ],
)
def test_labelme(tmp_path: Path, photos: Photos, file: File, image: str, label: str, path: str, shape: str) -> None:
    for name in CORNERS:
        photos(image.format(name))
        file(label.format(name), labelme(name, path.format(name), shape=shape))
    train, val = opened(tmp_path)
    assert boxes(train, val) == TRUTH
    assert train.class_names == ("ant", "cat", "dog")


def test_labelmes_other_shapes(tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture) -> None:
    photos("a.png", "b.png")
    circle = {"label": "cat", "points": [[20, 15], [23, 19]], "shape_type": "circle"}
    line = {"label": "cat", "points": [[1, 2], [3, 4]], "shape_type": "line"}
    file("a.json", json.dumps({"shapes": [circle, line], "imagePath": "a.png"}))
    file("b.json", labelme("b", "b.png"))
    with caplog.at_level(logging.WARNING):
        found = boxes(*opened(tmp_path))
    assert found["a.png"] == [("cat", [15, 10, 25, 20])]
    assert "1 of 4 annotations left out: a.json: shape 2: 'cat' is a 'line'; expected a rectangle" in caplog.text


def test_an_image_that_is_only_inside_labelmes_file_is_left_out_by_name(
    tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    photos("a.png", "b.png")
    for name in CORNERS:
        file(f"{name}.json", labelme(name, f"{name}.png", imageData="iVBORw0KGgo="))
    with caplog.at_level(logging.WARNING):
        found = boxes(*opened(tmp_path))
    assert found == {name: TRUTH[name] for name in ("a.png", "b.png")}
    assert "1 of 3 images left out: c.json: its image 'c.png' is only inside it (imageData)" in caplog.text


@pytest.mark.parametrize(
    ("image", "files"),
    [
        ("images/{}.png", {"annotations.xml": cvat(*"abc")}),
        ("{}.png", {"my task/annotations.xml": cvat(*"abc")}),
        ("images/{}.png", {"1/annotations.xml": cvat("a"), "2/annotations.xml": cvat("b", "c")}),
        ("images/{}.png", {"train.xml": cvat("a", "b"), "val.xml": cvat("c")}),
        ("images/{}.png", {"x.xml": cvat("a", "b", subset="Train"), "y.xml": cvat("c", subset="Validation")}),
    ],
)
def test_cvat(tmp_path: Path, photos: Photos, file: File, image: str, files: dict[str, str]) -> None:
    photos(*(image.format(name) for name in "abc"))
    for place, text in files.items():
        file(place, text)
    train, val = opened(tmp_path)
    assert boxes(train, val) == TRUTH
    assert train.class_names == ("ant", "cat", "dog")
    if "x.xml" in files or "train.xml" in files:
        assert names(val) == ["c.png"]


def test_cvats_other_shapes(tmp_path: Path, photos: Photos, file: File, caplog: pytest.LogCaptureFixture) -> None:
    photos("a.png", "b.png")
    shapes = (
        '<polygon label="cat" points="4,6;20,10;12.5,27"/><ellipse label="dog" cx="20" cy="15" rx="4" ry="3"/>'
        '<mask label="dog" rle="1, 2" left="3" top="4" width="5" height="6"/>'
        '<box label="cat" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/><tag label="sunny"/>'
        '<polyline label="cat" points="1,2;3,4"/>'
    )
    file(
        "annotations.xml",
        f'<annotations><image name="a.png" width="40" height="30">{shapes}</image>'
        '<image name="b.png" width="40" height="30"/></annotations>',
    )
    with caplog.at_level(logging.WARNING):
        found = boxes(*opened(tmp_path, max_bad=0.2), digits=3)
    assert found["a.png"] == [
        ("cat", [4, 6, 20, 27]), ("dog", [16, 12, 24, 18]), ("dog", [3, 4, 8, 10]), ("cat", [13, 7, 17, 17]),
    ]  # fmt: skip
    assert found["b.png"] == []
    assert "shape 6: is a <polyline>; expected a shape with an area" in caplog.text
    assert "1 have turned boxes" in caplog.text
