"""Small valid files of every kind that is read, and what damages them."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from event_data import make_events
from hdf5_data import write_dsec, write_h5
from hypothesis import strategies as st
from PIL import Image

Change = tuple[str, float, bytes]
# What damage in the field and an attacker put in: extremes of numbers, marks of the formats, deep nesting.
TOKENS = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"-1", b"1e999", b"nan", b"null", b"[]", b"{}",
    b"[" * 300,
    b"{" * 300, b'"', b"<", b">", b"&x;", b"%", b"% end\n", b"\n", b" ", b"\xef\xbb\xbf", b"9" * 400,
    b"!!python/name:os",
    b"true", b"..", b"\\",
)  # fmt: skip

changes = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "cut", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=6,
)


def damaged(content: bytes, some: list[Change]) -> bytes:
    """The content after each change, whose place is a share of its length."""
    for kind, share, token in some:
        at = int(share * len(content))
        if kind == "replace":
            content = content[:at] + token + content[at + len(token) :]
        elif kind == "insert":
            content = content[:at] + token + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + len(token) :]
        elif kind == "cut":
            content = content[:at]
        else:
            content = content[:at] + content[at : at + 16] * 3 + content[at:]
    return content


def evt2(path: Path) -> Path:
    """Ten events, each after a new high part of the time."""
    words = []
    for i in range(10):
        words += [8 << 28 | 100 + i, (i % 2) << 28 | i << 22 | 10 * i << 11 | 7 * i]
    path.write_bytes(b"% evt 2.0\n% geometry 304x240\n% end\n" + struct.pack(f"<{len(words)}I", *words))
    return path


def evt3(path: Path) -> Path:
    """Single events and vectors of 12 and 8."""
    words = []
    for i in range(10):
        words += [0x8000 | 5, 0x6000 | 10 * i, 0x0000 | 7 * i, 0x2000 | 0x800 | 10 * i, 0x3000 | i, 0x4A5A, 0x50F0]
    path.write_bytes(b"% evt 3.0\n% format EVT3;height=240;width=304\n% end\n" + struct.pack(f"<{len(words)}H", *words))
    return path


def dat(path: Path) -> Path:
    """Ten events of Gen1's sensor."""
    rows = b"".join(struct.pack("<II", 100 * i, 10 * i | 7 * i << 14 | (i % 2) << 28) for i in range(10))
    path.write_bytes(b"% Height 240\n% Width 304\n\x00\x08" + rows)
    return path


def npy(path: Path) -> Path:
    """Ten events as a table."""
    np.save(path, np.array([[100 * i, 10 * i, 7 * i, i % 2] for i in range(10)]))
    return path


def five_bytes(path: Path) -> Path:
    """Ten events of N-MNIST."""
    path.write_bytes(b"".join(bytes([i, i + 1, 0x80 * (i % 2), i, i]) for i in range(10)))
    return path


def npz() -> bytes:
    """An archive of two arrays."""
    out = io.BytesIO()
    np.savez_compressed(out, labels=np.zeros(6), rows=np.arange(3))
    return out.getvalue()


def hdf5(path: Path) -> Path:
    """A thousand events in chunks, with the sensor's size."""
    return write_h5(path, make_events(1000), sensor_hw=(48, 64))


def dsec(path: Path) -> Path:
    """The same with an offset of the times and the events of each millisecond."""
    return write_dsec(path, make_events(1000), 0)


def image(path: Path) -> Path:
    """40 px wide, 30 high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return path


def coco(root: Path) -> Path:
    """A set of two images; gives the annotation file."""
    for name in ("a.png", "b.png"):
        image(root / "images" / name)
    boxes = [
        {"id": i, "image_id": 1 + i % 2, "category_id": 3, "bbox": [i, 2, 10, 12], "area": 120, "iscrowd": 0}
        for i in range(4)
    ]
    content = {
        "images": [{"id": 1 + i, "file_name": f"{n}.png", "height": 30, "width": 40} for i, n in enumerate("ab")],
        "annotations": boxes,
        "categories": [{"id": 3, "name": "car"}],
    }
    (root / "a.json").write_text(json.dumps(content))
    return root / "a.json"


def voc(root: Path) -> Path:
    """A set of two images; gives an annotation file."""
    top = root / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main"):
        (top / folder).mkdir(parents=True, exist_ok=True)
    (top / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    for name in "ab":
        image(top / "JPEGImages" / f"{name}.jpg")
        (top / "Annotations" / f"{name}.xml").write_text(
            f'<?xml version="1.0" encoding="utf-8"?><annotation><filename>{name}.jpg</filename><size><width>40</width>'
            "<height>30</height><depth>3</depth></size><object><name>dog</name><difficult>0</difficult><bndbox>"
            "<xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>"
        )
    return top / "Annotations" / "a.xml"


def yolo(root: Path) -> Path:
    """A set of two images; gives its data.yaml."""
    for name in "ab":
        image(root / "images" / "train" / f"{name}.png")
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.125 0.25\n")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/train\nnames:\n  0: car\n  1: dog\n")
    return root / "data.yaml"


RECORDINGS: dict[str, Callable[[Path], Path]] = {
    "a.dat": dat,
    "2.raw": evt2,
    "3.raw": evt3,
    "a.npy": npy,
    "a.bs2": five_bytes,
    "a.h5": hdf5,
    "dsec.hdf5": dsec,
}
