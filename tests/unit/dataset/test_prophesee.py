"""A made tree in Prophesee's form: what becomes a sample, and what is left out and said."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from event_data import make_events
from hdf5_data import write_h5

from emsyolo.dataset.augment import Letterbox, Stretch
from emsyolo.dataset.collate import collate
from emsyolo.dataset.event.box_filter import BoxFilter
from emsyolo.dataset.event.boxes import EventBoxes, write_boxes
from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.representation import Counts, counts
from emsyolo.dataset.event_coco import EventCoco
from emsyolo.dataset.prophesee import Prophesee

SENSOR_HW = (240, 304)
NAME = "17-03-30_12-53-58_1037500000_1097500000"
SETTINGS = {"representation": Counts(), "steps": 2, "window_us": 50_000}
NAMES = ["car", "pedestrian"]


def boxes(*rows: tuple[float, ...]) -> EventBoxes:
    """Rows of t, x0, y0, x1, y1, class, track."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    whole = table.astype(np.int64)
    return EventBoxes(whole[:, 0], table[:, 1:5], whole[:, 5], whole[:, 6], np.ones(len(table)))


def older_boxes(path: Path, rows: EventBoxes) -> None:
    """As Gen1's own files: `ts` and `confidence`, class as a byte."""
    fields = [("ts", "<u8"), *((side, "<f4") for side in "xywh"), ("class_id", "u1"), ("confidence", "<f4")]
    table = np.zeros(len(rows), dtype=[*fields, ("track_id", "<u4")])
    corners = rows.boxes_xyxy
    table["ts"], table["class_id"], table["track_id"] = rows.t_us, rows.class_id, rows.track_id
    for i, side in enumerate("xy"):
        table[side] = corners[:, i]
    table["w"], table["h"] = (corners[:, 2:] - corners[:, :2]).T
    np.save(path, table)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two good recordings, one without a box, one without a box file, a box file alone, a damaged recording."""
    folder = tmp_path / "gen1" / "detection_dataset_duration_60s_ratio_1.0" / "train"
    events = make_events(4000, sensor_hw=SENSOR_HW)
    for name in ("a", NAME, "no_boxes", "no_file"):
        write_dat(folder / f"{name}_td.dat", events, SENSOR_HW, datetime(2017, 3, 30, 12, 53, 58))
    write_boxes(folder / "a_bbox.npy", boxes((60_000, 10, 20, 50, 80, 0, 1), (60_000, 12, 22, 52, 82, 0, 1)))
    older_boxes(
        folder / f"{NAME}_bbox.npy",
        boxes(
            (0, 100, 100, 140, 150, 1, 3),  # before the first event
            (90_000, 280, 200, 330, 260, 0, 1),  # reaches beyond the sensor
            (90_000, 0, 0, 8, 8, 1, 2),
        ),
    )
    write_boxes(folder / "no_boxes_bbox.npy", boxes())
    write_boxes(folder / "lonely_bbox.npy", boxes((1, 0, 0, 9, 9, 0, 1)))
    (folder / "damaged_td.dat").write_bytes(b"no header")
    write_boxes(folder / "damaged_bbox.npy", boxes((1, 0, 0, 9, 9, 0, 1)))
    return tmp_path / "gen1"


def test_one_sample_per_labelled_time(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Prophesee(tree, "train", NAMES, **SETTINGS)
    assert [record.t_us for record in data.records] == [0, 90_000, 60_000]
    assert data.records[2].boxes_xyxy.tolist() == [[12, 22, 52, 82]]  # the last label of the track
    assert data.records[1].boxes_xyxy.tolist() == [[280, 200, 304, 240], [0, 0, 8, 8]]  # clipped
    assert data.records[1].labels.tolist() == [0, 1]
    assert data.truth()["images"][1]["t_us"] == 90_000
    for said in ("lonely_bbox.npy (no recording)", "no_file_td.dat (no box file)", "damaged_td.dat (byte 0: no header"):
        assert said in caplog.text
    assert "1 boxes reach outside" in caplog.text


def test_frames_are_those_of_the_window_that_ends_at_the_label(tree: Path) -> None:
    data = Prophesee(tree, "train", NAMES, **SETTINGS)
    events = make_events(4000, sensor_hw=SENSOR_HW)
    sample = data[2]
    expected = np.minimum(counts(events, 10_000, 60_000, 2, SENSOR_HW), 10) * 25
    assert sample.frames.numpy().tolist() == expected.tolist()
    inside = ((events.t >= 10_000) & (events.t < 60_000)).sum()
    assert sample.event_rate == pytest.approx(inside / 0.05)
    assert sample.original_hw == SENSOR_HW
    empty = data[0]
    assert empty.event_rate == 0
    assert empty.frames.shape == sample.frames.shape
    assert collate([sample, empty]).frames.shape == (2, 2, 2, *SENSOR_HW)


def test_coordinates_scaled_before_framing(tree: Path) -> None:
    data = Prophesee(tree, "train", NAMES, **SETTINGS, frame_hw=(120, 152))
    sample = data[2]
    assert sample.frames.shape == (2, 2, 120, 152)
    assert sample.targets.boxes_xyxy.tolist() == [[6, 11, 26, 41]]
    assert sample.scale_wh == (0.5, 0.5)


def test_filter_drops_what_is_early_or_small(tree: Path) -> None:
    strict = BoxFilter(skip_us=50_000, min_diagonal_px=30, min_side_px=10)
    data = Prophesee(tree, "train", NAMES, **SETTINGS, box_filter=strict)
    assert [(record.t_us, len(record.labels)) for record in data.records] == [(90_000, 1), (60_000, 1)]
    # 24x18 has a diagonal of exactly 30.
    assert strict.keep(np.array([[24.0, 18.0], [24.0, 17.9], [40.0, 9.9]])).tolist() == [True, False, False]


def test_classes_are_chosen_or_refused(tree: Path) -> None:
    data = Prophesee(tree, "train", ["person"], class_ids=[1], **SETTINGS)
    assert [record.labels.tolist() for record in data.records] == [[0], [0]]
    with pytest.raises(ValueError, match=rf"{NAME}_bbox\.npy, row 0: class_id 1; expected one of \[0\]"):
        Prophesee(tree, "train", ["car"], **SETTINGS)
    with pytest.raises(ValueError, match=r"dataset\.class_names is not given"):
        Prophesee(tree, "train", None, **SETTINGS)


def test_damage_inside_a_window_is_an_error_and_with_check_the_file_is_left_out(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = tree.rglob("a_td.dat")
    content = bytearray(path.read_bytes())
    content[-8 * 2700 : -8 * 2700 + 4] = bytes(4)  # an event at time 0 in the middle
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a_td\.dat: event 1300 \(byte \d+\): time runs back"):
        Prophesee(tree, "train", NAMES, **SETTINGS)[2]
    assert len(Prophesee(tree, "train", NAMES, check=True, **SETTINGS)) == 2
    assert "a_td.dat (event 1300" in caplog.text


def test_names_in_capitals_and_other_formats(tmp_path: Path) -> None:
    events = make_events(4000, sensor_hw=SENSOR_HW)
    folder = tmp_path / "train"
    write_dat(folder / "A_TD.DAT", events, SENSOR_HW)
    write_h5(folder / "b_td.dat.h5", events)
    write_dat(folder / "c_td.dat", events, SENSOR_HW)
    write_h5(folder / "c_td.h5", events)  # the same recording again
    for name in ("A_BBOX.NPY", "b_bbox.npy", "c_bbox.npy"):
        write_boxes(folder / "made.npy", boxes((60_000, 10, 20, 50, 80, 0, 1)))
        (folder / "made.npy").rename(folder / name)
    data = Prophesee(tmp_path, "train", NAMES, **SETTINGS)
    assert [record.path.name for record in data.records if record.path] == ["A_TD.DAT", "b_td.dat.h5", "c_td.dat"]
    assert data[0].frames.equal(data[1].frames)


def test_labels_every_so_often(tmp_path: Path) -> None:
    write_dat(tmp_path / "train" / "a_td.dat", make_events(4000, sensor_hw=SENSOR_HW), SENSOR_HW)
    rows = [(t, 10, 20, 50, 80, 0, 1) for t in range(20_000, 100_000, 16_667)]
    write_boxes(tmp_path / "train" / "a_bbox.npy", boxes(*rows))
    data = Prophesee(tmp_path, "train", NAMES, label_every_us=33_333, **SETTINGS)
    assert [record.t_us for record in data.records] == [20_000, 53_334, 86_668]


def test_missing_folders_say_what_is_expected(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val: looked for the folder.*NAME_td\.dat"):
        Prophesee(tree, "val", NAMES, **SETTINGS)
    with pytest.raises(ValueError, match="window_us=1"):
        Prophesee(tree, "train", NAMES, representation=Counts(), steps=2, window_us=1)


def test_recordings_with_coco_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = make_events(500)
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "a.npy", np.stack([events.t, events.x, events.y, events.p], axis=1))
    image = {"height": 48, "width": 64}
    (tmp_path / "train.json").write_text(
        '{"images": [{"id": 3, "file_name": "a.npy", "t_us": 40000, "height": 48, "width": 64},'
        ' {"id": 4, "file_name": "a.npy", "height": 48, "width": 64},'
        ' {"id": 5, "file_name": "gone.npy", "height": 48, "width": 64}],'
        ' "annotations": [{"id": 1, "image_id": 3, "category_id": 9, "bbox": [1, 2, 30, 20]}],'
        ' "categories": [{"id": 9, "name": "person"}]}'
    )
    data = EventCoco(tmp_path, "train", "train.json", **SETTINGS)
    assert [(record.id, record.t_us) for record in data.records] == [(3, 40_000), (4, int(events.t[-1]) + 1)]
    assert data[0].targets.boxes_xyxy.tolist() == [[1, 2, 31, 22]]
    assert data[0].frames.shape == (2, 2, image["height"], image["width"])
    assert "gone.npy (looked for a recording" in caplog.text


def test_stretch_and_padding_keep_the_way_back(tree: Path) -> None:
    sample = Prophesee(tree, "train", NAMES, **SETTINGS)[2]
    stretched = Stretch((320, 320))(sample, lambda: sample)
    assert stretched.frames.shape[-2:] == (320, 320)
    assert stretched.scale_wh == pytest.approx((320 / 304, 320 / 240))
    padded = Letterbox((256, 320), fill=0, enlarge=False)(sample, lambda: sample)
    assert torch.equal(padded.frames[..., 8:248, 8:312], sample.frames)
    assert padded.targets.boxes_xyxy.tolist() == [[20, 30, 60, 90]]
    assert Letterbox((256, 320), enlarge=False).scale_wh((240, 304)) == (1, 1)


def test_a_damaged_box_file_is_left_out(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tree / "detection_dataset_duration_60s_ratio_1.0" / "train"
    (folder / "a_bbox.npy").write_bytes((folder / "a_bbox.npy").read_bytes()[:90])
    data = Prophesee(tree, "train", NAMES, **SETTINGS)
    assert {record.path.name for record in data.records if record.path} == {f"{NAME}_td.dat"}
    assert "a_bbox.npy (cannot be read (not a whole file of NumPy's" in caplog.text
    (folder / f"{NAME}_bbox.npy").write_bytes(b"")
    (folder / "no_boxes_bbox.npy").unlink()
    with pytest.raises(ValueError, match="no recording with its boxes can be read"):
        Prophesee(tree, "train", NAMES, **SETTINGS)


def test_boxes_of_another_clock_are_refused(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tree / "detection_dataset_duration_60s_ratio_1.0" / "train"
    late = 10**9
    write_boxes(folder / "a_bbox.npy", boxes((60_000, 10, 20, 50, 80, 0, 1), (late, 12, 22, 52, 82, 0, 1)))
    Prophesee(tree, "train", NAMES, **SETTINGS)
    assert "labelled times lie outside their recordings" in caplog.text
    write_boxes(folder / "a_bbox.npy", boxes(*((late + 1000 * i, 10, 20, 50, 80, 0, 1) for i in range(9))))
    with pytest.raises(ValueError, match=r"labelled times lie outside .*us, and boxes at"):
        Prophesee(tree, "train", NAMES, **SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"representation": None}, r"dataset\.representation=None: expected how events become frames.*protocol=ems"),
        ({"frame_hw": [0, 64]}, r"dataset\.frame_hw=\[0, 64\]: expected \[height, width\] of at least 1 px"),
        ({"frame_hw": [48.5, 64]}, r"dataset\.frame_hw="),
        ({"frame_hw": 48}, r"dataset\.frame_hw=48"),
        ({"frame_hw": [48]}, r"dataset\.frame_hw="),
        ({"window_us": 1}, r"dataset\.window_us=1 and 2 steps"),
    ],
)
def test_settings_out_of_range(tree: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prophesee(tree, "train", NAMES, **{**SETTINGS, **change})


def test_declared_sensors_and_times_are_compared_with_the_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_dat(tmp_path / "train" / "a.dat", make_events(500, sensor_hw=(48, 64)), (48, 64))

    def opened(*images: dict[str, object]) -> EventCoco:
        listed = [{"id": i, "file_name": "a.dat", "height": 48, "width": 64, **one} for i, one in enumerate(images)]
        rows = [{"id": i, "image_id": i, "category_id": 9, "bbox": [1, 2, 30, 20]} for i in range(len(images))]
        content = {"images": listed, "annotations": rows, "categories": [{"id": 9, "name": "person"}]}
        (tmp_path / "train.json").write_text(json.dumps(content))
        return EventCoco(tmp_path, "train", "train.json", **SETTINGS)

    assert [record.id for record in opened({}, {"height": 240, "width": 304}).records] == [0]
    assert "its sensor has (48, 64) px (height, width), and (240, 304) in the annotation file" in caplog.text
    with pytest.raises(ValueError, match=r"2 of 2 labelled times lie outside .*: a\.dat has events from"):
        opened({"t_us": 10**9}, {"t_us": 0})
    with pytest.raises(ValueError, match=r"image number 0: t_us is 0\.04; expected a whole number"):
        opened({"t_us": 0.04})
