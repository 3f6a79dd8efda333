"""Small trees of the public event data sets: official names, types and oddities, made up events and boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from event_data import make_events
from hdf5_data import BLOSC, write_dsec, write_h5

from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.events import Events

MPX, GEN1 = (720, 1280), (240, 304)
SPAN_US = 1_000_000
NPY_BOXES = np.dtype(  # 1 Mpx and eTraM, 40 bytes
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)
GEN1_BOXES = np.dtype(
    [("ts", "<u8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1"),
     ("class_confidence", "<f4"), ("track_id", "<u4")]
)  # fmt: skip
DSEC_TRACKS = np.dtype(
    [("t", "<u8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1"),
     ("class_confidence", "<f4"), ("track_id", "<u4"), ("img_name", "<U10")]
)  # fmt: skip


def rows(dtype: np.dtype, times_us: np.ndarray, sensor_hw: tuple[int, int], classes: int) -> np.ndarray:
    """Two boxes at each time, of changing class; the second reaches beyond the sensor."""
    height, width = sensor_hw
    table = np.zeros(2 * len(times_us), dtype=dtype)
    table["ts" if "ts" in (dtype.names or ()) else "t"] = np.repeat(times_us, 2)
    table["x"], table["y"] = np.tile([width // 8, width // 2], len(times_us)), height // 4
    table["w"], table["h"] = np.tile([width // 4, width * 5 // 8], len(times_us)), height // 3
    table["class_id"], table["track_id"] = np.arange(len(table)) % classes, np.arange(len(table))
    table["class_confidence"] = 1
    return table


def beyond(events: Events) -> Events:
    """Some events at x = 1308, as 1 Mpx has."""
    x = events.x.copy()
    x[::500] = 1308
    return Events(events.t, x, events.y, events.p)


def at_60_hz() -> np.ndarray:
    """Labelled times of 1 Mpx, one second."""
    return (np.arange(1, 60) * 16_666.7).astype(np.int64)


def one_mpx(root: Path) -> None:
    """A DAT of Prophesee's and the two names of RVT's copies, labels at 60 Hz, seven classes."""
    events = beyond(make_events(20_000, span_us=SPAN_US, sensor_hw=MPX))
    for split in ("train", "val"):
        folder = root / split
        write_dat(folder / "moorea_2019-02-15_000_td_0_60000000_td.dat", events, (MPX[0], 1309))
        content = (folder / "moorea_2019-02-15_000_td_0_60000000_td.dat").read_bytes()
        (folder / "moorea_2019-02-15_000_td_0_60000000_td.dat").write_bytes(
            content.replace(b"Width 1309", b"Width 1280")
        )
        for name, end in (("moorea_2019-02-15_001_td_0_60000000", "_td.h5"), ("moorea_2019-02-15_002", "_td.dat.h5")):
            write_h5(folder / f"{name}{end}", events, sensor_hw=MPX, types="i8 u2 u2 i2", chunk=4096)
        for recording in list(folder.iterdir()):
            key = recording.name.partition("_td.")[0]
            np.save(folder / f"{key}_bbox.npy", rows(NPY_BOXES, at_60_hz(), MPX, 7))


def etram(root: Path) -> None:
    """HDF5 in numbered folders, with three classes beside, and eight in folders of their own."""
    events = make_events(20_000, span_us=SPAN_US, sensor_hw=MPX)
    for split, folder in (("train", "train_h5_1"), ("train", "train_h5_6"), ("val", "val_h5_1")):
        base = root / "HDF5" / folder / f"{split}_night_00{folder[-1]}"
        write_h5(Path(f"{base}_td.h5"), events, types="i8 u2 u2 i2", chunk=4096, sensor_hw=MPX)
        np.save(f"{base}_bbox.npy", rows(NPY_BOXES, at_60_hz()[1::2], MPX, 3))
        eight = root / "class annotations" / f"eight_class_annotations_{split}"
        eight.mkdir(parents=True, exist_ok=True)
        np.save(eight / f"{base.name}_bbox.npy", rows(NPY_BOXES, at_60_hz()[1::2], MPX, 8))


def dsec_detection(root: Path) -> None:
    """Three sequences on DSEC's absolute clock, with the tracks of DSEC-Detection at 20 Hz."""
    offset = 49_599_300_523
    early = make_events(20_000, span_us=SPAN_US, sensor_hw=(480, 640))
    events = Events(early.t + offset, early.x, early.y, early.p)
    for split, name in (("train", "zurich_city_00_a"), ("train", "zurich_city_16_a"), ("test", "zurich_city_13_a")):
        folder = root / split / name
        write_dsec(folder / "events" / "left" / "events.h5", events, offset, chunk=4096)
        times = offset + np.arange(50_000, SPAN_US, 50_000)
        (folder / "images").mkdir()
        (folder / "images" / "timestamps.txt").write_text("\n".join(map(str, times)))
        (folder / "object_detections" / "left").mkdir(parents=True)
        table = rows(DSEC_TRACKS, times[::2], (480, 640), 8)
        table["img_name"] = "000000.png"
        np.save(folder / "object_detections" / "left" / "tracks.npy", table)


def pedro(root: Path) -> None:
    """Windows of 40 ms since 1970, with boxes in both of its forms; one frame has no file of boxes."""
    for split in ("train", "val"):
        for part in ("numpy", "xml", "yolo"):
            (root / part / split).mkdir(parents=True)
        for i in range(3):
            events = make_events(3000, seed=i, span_us=40_000, sensor_hw=(260, 346))
            table = np.stack([events.t + 1_669_000_000_000_000, events.x, events.y, events.p], axis=1).astype(np.int64)
            np.save(root / "numpy" / split / f"frame{i:07d}.npy", table)
            if i == 2:
                continue
            (root / "xml" / split / f"frame{i:07d}.xml").write_text(
                "<annotation><filename>frame0001155.jpg</filename><size><width>346</width><height>260</height>"
                "<depth>1</depth></size><object><name>person</name><difficult>0</difficult><bndbox><xmin>76</xmin>"
                "<ymin>36</ymin><xmax>120</xmax><ymax>162</ymax></bndbox></object></annotation>"
            )
            (root / "yolo" / split / f"frame{i:07d}.txt").write_text(
                "0 0.2832369942196532 0.38076923076923075 0.12716763005780346 0.4846153846153846\n"
            )


def fred(root: Path) -> None:
    """Sequences by number with EVT3 recordings, and boxes at 30 Hz in text files."""
    for number in (0, 1, 2, 7, 34):
        folder = root / str(number)
        (folder / "Event" / "Frames").mkdir(parents=True)
        words = []
        for step in range(200):  # every 5 ms one event and a vector of twelve
            t = 5000 * step
            words += [0x8000 | (t >> 12), 0x6000 | (t & 0xFFF), 0x0000 | (300 + step), 0x2000 | 0x800 | (600 + step)]
            words += [0x3000 | 700, 0x4FFF]
        header = b"% evt 3.0\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n% end\n"
        (folder / "Event" / "events.raw").write_bytes(header + np.array(words, "<u2").tobytes())
        lines = [f"{i / 30:.6f}: {600.0 + i}, 290.0, {680.0 + i}, 340.0" for i in range(1, 28)]
        (folder / "coordinates.txt").write_text("\n".join(lines))
        if number:
            (folder / "interpolated_coordinates.txt").write_text("\n".join(f"{line}, 1" for line in lines))


def ncaltech101(root: Path) -> None:
    """Two classes of twenty recordings in the five bytes of N-MNIST, one without an annotation."""
    events = make_events(2000, span_us=300_000, sensor_hw=(180, 240))
    t = events.t.astype(np.uint32)
    packed = np.stack([events.x, events.y, events.p << 7 | (t >> 16).astype(np.uint8), t >> 8 & 255, t & 255], axis=1)
    corners = np.array([0, 0, 40, 30, 200, 30, 200, 150, 40, 150, 9, 9], "<i2")
    for name in ("accordion", "Faces_easy"):
        for folder in (root / "Caltech101" / name, root / "Caltech101_annotations" / name):
            folder.mkdir(parents=True)
        for i in range(1, 21):
            (root / "Caltech101" / name / f"image_{i:04d}.bin").write_bytes(packed.astype(np.uint8).tobytes())
            if i > 1:
                (root / "Caltech101_annotations" / name / f"annotation_{i:04d}.bin").write_bytes(corners.tobytes())


def rvt_tree(root: Path, sensor_hw: tuple[int, int] = GEN1, half: bool = False) -> None:
    """RVT's preprocessed recordings: eight frames, the last three labelled."""
    height, width = (side // 2 if half else side for side in sensor_hw)
    for split in ("train", "val"):
        folder = root / split / "17-04-13_15-05-43_1098500000_1158500000"
        frames = folder / "event_representations_v2" / "stacked_histogram_dt=50_nbins=10"
        for one in (folder / "labels_v2", frames):
            one.mkdir(parents=True)
        times = np.array([599_999, 849_999, 1_099_999])
        table = rows(NPY_BOXES if half else GEN1_BOXES, times, sensor_hw, 2)
        np.savez(folder / "labels_v2" / "labels.npz", labels=table, objframe_idx_2_label_idx=np.arange(0, 6, 2))
        np.save(folder / "labels_v2" / "timestamps_us.npy", times)
        np.save(frames / "objframe_idx_2_repr_idx.npy", np.array([3, 5, 7]))
        np.save(frames / "timestamps_us.npy", np.arange(8) * 50_000 + 749_999)
        counts = np.random.default_rng(0).integers(0, 3, (8, 20, height, width)).astype(np.uint8)
        counts[7, 13, 5, 6] = 10  # on, fourth bin
        name = "event_representations_ds2_nearest.h5" if half else "event_representations.h5"
        with h5py.File(frames / name, "w") as file:
            file.create_dataset("data", data=counts, chunks=(1, 20, height, width), **BLOSC)


TREES: dict[str, Callable[[Path], None]] = {
    "one_mpx": one_mpx,
    "etram": etram,
    "dsec_detection": dsec_detection,
    "pedro": pedro,
    "fred": fred,
    "ncaltech101": ncaltech101,
    "rvt_tree": rvt_tree,
}
