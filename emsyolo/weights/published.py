"""Weights that their authors publish at an address, with what tells that a file is theirs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFile:
    """One file.

    Args:
        name: under which it is kept.
        address: of the authors.
        sha256: of its content, 64 lower-case hexadecimal digits.
        bytes: its size.
    """

    name: str
    address: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Published:
    """The files that belong together in one folder.

    Args:
        what: in one line.
        source: the page that offers them.
        licence: in the authors' words.
        files: the largest first.
    """

    what: str
    source: str
    licence: str
    files: tuple[PublishedFile, ...]


PUBLISHED = {
    "yolov3-tiny": Published(
        what="darknet's YOLOv3-tiny, trained on COCO",
        source="https://pjreddie.com/darknet/yolo/",
        licence="darknet is public domain",
        files=(
            PublishedFile(
                "yolov3-tiny.weights",
                "https://data.pjreddie.com/files/yolov3-tiny.weights",
                "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
                35_434_956,
            ),
            PublishedFile(
                "yolov3-tiny.cfg",
                "https://raw.githubusercontent.com/pjreddie/darknet/master/cfg/yolov3-tiny.cfg",
                "84eb7a675ef87c906019ff5a6e0effe275d175adb75100dcb47f0727917dc2c7",
                1_915,
            ),
            PublishedFile(
                "coco.names",
                "https://raw.githubusercontent.com/pjreddie/darknet/master/data/coco.names",
                "634a1132eb33f8091d60f2c346ababe8b905ae08387037aed883953b7329af84",
                625,
            ),
        ),
    ),
}
