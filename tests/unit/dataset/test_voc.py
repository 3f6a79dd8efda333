from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from emsyolo.dataset import voc as module
from emsyolo.dataset.voc import VOC

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
    "<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
)
Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path, picture: Callable[..., Path]) -> Add:
    """Adds an image to a set, with an XML file of (class, box, difficult)."""

    def add(
        name: str, objects: list[tuple[str, list[object], int]], folder: str = "", image_set: str = "train"
    ) -> Path:
        base = tmp_path / folder
        picture(base / "JPEGImages" / f"{name}.jpg")
        xml = base / "Annotations" / f"{name}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        listed = (OBJECT.format(name=one, box=box, difficult=difficult) for one, box, difficult in objects)
        xml.write_text(f"<annotation>{''.join(listed)}</annotation>")
        main = base / "ImageSets" / "Main" / f"{image_set}.txt"
        main.parent.mkdir(parents=True, exist_ok=True)
        with main.open("a") as file:
            file.write(f"{name}\n")
        return xml

    return add


def test_boxes_count_from_one_with_both_ends_included(tmp_path: Path, add: Add) -> None:
    add("a", [("dog", [1, 1, 40, 30], 0), ("cat", ["5.5", 6, 5.5, 6], 1)])
    data = VOC(tmp_path, ["train"])
    assert data.class_names[11] == "dog"
    assert len(data.class_names) == 20
    sample = data[0]
    assert sample.targets.boxes_xyxy.tolist() == [[0, 0, 40, 30], [4.5, 5, 5.5, 6]]
    assert sample.targets.labels.tolist() == [11, 7]
    assert sample.targets.ignore.tolist() == [False, True]
    assert [one["difficult"] for one in data.truth()["annotations"]] == [0, 1]
    assert [one["iscrowd"] for one in data.truth()["annotations"]] == [0, 0]


def test_several_sets_of_several_folders(tmp_path: Path, add: Add) -> None:
    add("a", [("dog", [1, 1, 4, 3], 0)], "VOCdevkit/VOC2007", "trainval")
    add("b", [], "VOCdevkit/VOC2012", "trainval")
    data = VOC(tmp_path, ["VOCdevkit/VOC2007/trainval", "VOCdevkit/VOC2012/trainval"])
    assert [record.name for record in data.records] == ["a.jpg", "b.jpg"]
    assert [record.id for record in data.records] == [0, 1]
    assert len(VOC(tmp_path, ["VOCdevkit/VOC2007/trainval", "VOCdevkit/VOC2012/trainval"], limit=1)) == 1


def test_an_unknown_class_says_what_to_type(tmp_path: Path, add: Add) -> None:
    add("a", [("WBC", [1, 1, 4, 3], 0), ("RBC", [1, 1, 4, 3], 0)])
    with pytest.raises(
        ValueError, match=r"a\.xml: unknown class 'WBC'; expected one of aeroplane.*dataset\.class_names=\[RBC,WBC\]"
    ):
        VOC(tmp_path, ["train"])
    assert VOC(tmp_path, ["train"], ["RBC", "WBC"]).class_names == ("RBC", "WBC")


def test_bad_xml_is_left_out_and_named(tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "c"):
        add(name, [("dog", [1, 1, 4, 3], 0)])
    cut = add("cut", [("dog", [1, 1, 4, 3], 0)])
    cut.write_text(cut.read_text()[:60])
    add("gone", []).unlink()
    with caplog.at_level(logging.WARNING):
        data = VOC(tmp_path, ["train"])
    assert [record.name for record in data.records] == ["a.jpg", "b.jpg", "c.jpg"]
    (message,) = caplog.messages
    assert message.startswith("voc/train: 2 of 5 images left out: cut.xml (XML cut off or damaged at line 1, column")
    assert "gone.xml (no such XML file)" in message


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (("dog", ["one", 1, 4, 3], 0), "object 2: xmin of 'dog' is 'one'; expected a number"),
        (("", [1, 1, 4, 3], 0), "object 2: name is ''; expected a name"),
        (("dog", [1, 1, 4, "inf"], 0), "object 2: ymax of 'dog' is 'inf'; expected a number"),
        (("dog", [1, 1, 4, 3], "perhaps"), "object 2: difficult of 'dog' is 'perhaps'; expected 0 or 1"),
    ],
)
def test_one_odd_object_is_left_out_and_too_many_are_refused(
    tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture, one: tuple[str, list[object], int], reason: str
) -> None:
    add("a", [("dog", [1, 1, 4, 3], 0), one])
    with caplog.at_level(logging.WARNING):
        assert VOC(tmp_path, ["train"]).records[0].boxes_xyxy.tolist() == [[0, 0, 4, 3]]
    assert caplog.messages == [f"voc/train: 1 of 2 annotations left out: a.xml: {reason}"]
    add("b", [("dog", [1, 1, 4, 3], 0), one])
    with pytest.raises(ValueError, match=r"a\.xml: object 2: .*\(2 of the 4 annotations of voc/train cannot be used"):
        VOC(tmp_path, ["train"])
    assert len(VOC(tmp_path, ["train"], max_bad=0.5)) == 2


def test_missing_images_and_boxes_outside_are_reported(
    tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    add("a", [("dog", [-3, 1, 4, 3], 0), ("dog", [9, 9, 2, 12], 0)])
    add("b", [])
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        data = VOC(tmp_path, ["train"])
    assert data.records[0].boxes_xyxy.tolist() == [[0, 0, 4, 3]]
    assert caplog.messages == [
        "voc/train: 1 of 2 images left out: b.jpg (missing)",
        "voc/train: 1 boxes reach outside their image and are clipped: a.jpg",
        "voc/train: 1 boxes without any area left out: a.jpg",
    ]


def test_absent_data_says_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"VOC2007/ImageSets/Main/test\.txt: looked for.*dataset\.train\.download=true.*host\.robots",
    ):
        VOC(tmp_path, ["VOCdevkit/VOC2007/test"])


def test_a_set_without_usable_images_is_refused(tmp_path: Path, add: Add) -> None:
    add("a", [])
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"no usable image; looked in .* for the 1 images of train"):
        VOC(tmp_path, ["train"])


def test_download_asks_torchvision_for_what_is_missing(
    tmp_path: Path, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(root: str, *, year: str, image_set: str, download: bool) -> None:
        asked.append((root, year, image_set, download))
        add("a", [("dog", [1, 1, 4, 3], 0)], f"VOCdevkit/VOC{year}", image_set)

    monkeypatch.setattr(module, "VOCDetection", fetch)
    for _ in range(2):
        assert len(VOC(tmp_path, ["VOCdevkit/VOC2007/test"], download=True)) == 1
    assert asked == [(str(tmp_path), "2007", "test", True)]


def rewrite(root: Path, set_lines: str, name: str = "train") -> None:
    (root / "ImageSets" / "Main" / f"{name}.txt").write_text(set_lines)


@pytest.mark.parametrize(
    "lines",
    ["a b\nc\n", "a b 1\nc -1\n", "a b.jpg\nc.jpg\n", "JPEGImages/a b.jpg\nVOC2012/JPEGImages/c.jpg\n",
     "JPEGImages\\a b.jpg\nJPEGImages\\c.jpg\n", "Annotations/a b.xml\nc.xml\n", "a b\r\nc\r\n", "\ufeffa b\nc\n"],
)  # fmt: skip
def test_what_a_line_of_a_set_may_be(tmp_path: Path, add: Add, lines: str) -> None:
    for name in ("a b", "c"):
        add(name, [("dog", [1, 1, 4, 3], 0)])
    rewrite(tmp_path, lines)
    assert [record.name for record in VOC(tmp_path, ["train"]).records] == ["a b.jpg", "c.jpg"]


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG", ".png", ".bmp", ".webp", ".tif"])
def test_images_of_any_suffix(tmp_path: Path, add: Add, picture: Callable[..., Path], suffix: str) -> None:
    add("a", [("dog", [1, 1, 4, 3], 0)])
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    picture(tmp_path / "JPEGImages" / f"a{suffix}")
    assert [record.name for record in VOC(tmp_path, ["train"]).records] == [f"a{suffix}"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        lambda text: f"<data>{text}</data>",
        lambda text: text.replace("annotation>", "Annotations>"),
        lambda text: '<?xml version="1.0" encoding="GB2312"?>' + text,
        lambda text: '<?xml version="1.0" encoding="UTF-16"?>' + text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("<difficult>0</difficult>", "<difficult>Unspecified</difficult>"),
        lambda text: text.replace("<difficult>0</difficult>", "<pose>Unspecified</pose><truncated/>"),
        lambda text: text.replace("<name>dog</name>", "<name> dog\n</name>"),
    ],
)  # fmt: skip
def test_xml_as_tools_write_it(tmp_path: Path, add: Add, change: Callable[[str], str]) -> None:
    xml = add("a", [("dog", [1, 1, 4, 3], 0)])
    text = change(xml.read_text())
    stated = "utf-16" if "UTF-16" in text else "gb2312" if "GB2312" in text else "utf-8"
    xml.write_bytes(text.encode(stated))
    assert VOC(tmp_path, ["train"]).records[0].boxes_xyxy.tolist() == [[0, 0, 4, 3]]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ('<?xml version="1.0" encoding="klingon"?>', "states the encoding 'klingon', which is none"),
        ('<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>', "declares entities of its own"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "declares entities of its own"),
    ],
)
def test_xml_that_asks_for_more_is_left_out(
    tmp_path: Path, add: Add, caplog: pytest.LogCaptureFixture, head: str, reason: str
) -> None:
    add("a", [("dog", [1, 1, 4, 3], 0)])
    xml = add("b", [("dog", [1, 1, 4, 3], 0)])
    xml.write_text(head + xml.read_text())
    with caplog.at_level(logging.WARNING):
        assert [record.name for record in VOC(tmp_path, ["train"]).records] == ["a.jpg"]
    assert f"1 of 2 images left out: b.xml ({reason}" in caplog.text


def test_a_path_that_leads_out_is_refused(tmp_path: Path, add: Add) -> None:
    add("a", [("dog", [1, 1, 4, 3], 0)])
    rewrite(tmp_path, "../../../secret\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 1 is .*which leads out of"):
        VOC(tmp_path, ["train"])


def test_a_set_most_of_whose_xml_is_missing_is_refused(tmp_path: Path, add: Add) -> None:
    for name in "abc":
        add(name, [("dog", [1, 1, 4, 3], 0)])
    (tmp_path / "Annotations").rename(tmp_path / "xml")
    with pytest.raises(ValueError, match=r"looked in .*Annotations; 3 of 3 images \(among them a\.xml\) have no XML"):
        VOC(tmp_path, ["train"])


def test_declared_sizes(tmp_path: Path, add: Add) -> None:
    xml = add("a", [("dog", [1, 1, 40, 30], 0)])
    size = "<size><width>80</width><height>60.0</height><depth>3</depth></size>"
    xml.write_text(xml.read_text().replace("<annotation>", f"<annotation>{size}"))
    assert VOC(tmp_path, ["train"]).records[0].boxes_xyxy.tolist() == [[0, 0, 20, 15]]
