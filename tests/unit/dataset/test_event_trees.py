"""Trees of the public event data sets, with their configs: what becomes a sample, and what is missing by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from event_data import make_events, shared_data
from event_trees import TREES, rvt_tree

from emsyolo.app.build import data_of
from emsyolo.app.config import compose_config
from emsyolo.dataset.datamodule import DataModule
from emsyolo.dataset.event.representation import Counts
from emsyolo.dataset.fred import read_coordinates
from emsyolo.dataset.ncaltech101 import split_of
from emsyolo.dataset.pedro import Pedro

FRAMES = {"representation": Counts(micro_bins=10), "steps": 1, "window_us": 40_000}


def opened(name: str, root: Path, *overrides: str) -> DataModule:
    return data_of(
        compose_config("train", [f"dataset={name}", f"dataset.root={root}", "dataset.num_workers=1", *overrides])
    )


@pytest.fixture
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name = request.param
    TREES[name](tmp_path / name)
    return tmp_path / name


of = pytest.mark.parametrize


@of("tree", ["one_mpx"], indirect=True)
def test_one_mpx(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened("one_mpx", tree)
    assert data.class_names == ("pedestrian", "two wheeler", "car")
    assert {record.path.name.partition("_td.")[2] for record in data.val.records if record.path} == {
        "dat", "h5", "dat.h5"
    }  # fmt: skip
    for path in {record.path for record in data.train.records}:
        times = [record.t_us or 0 for record in data.train.records if record.path == path]
        assert min(np.diff(times)) >= 98_000, "labels of 60 Hz, at 10 Hz"
    assert all(set(record.labels) <= {0, 1, 2} for record in data.train.records)
    sample = data.val[0]
    assert (sample.frames.shape, sample.original_hw, sample.scale_wh) == ((1, 20, 360, 640), (720, 1280), (0.5, 0.5))
    assert sample.targets.boxes_xyxy[0].tolist() == [80, 90, 240, 210]  # 160, 180, 320 x 240 at full size
    assert next(iter(data.train_loader())).frames.shape[2:] == (20, 384, 640)
    assert "events beyond the sensor are left out" in caplog.text
    # Counted in px of the sensor: RVT's 30 and 10 px of its frames of half the size.
    assert (data.box_filter.min_diagonal_px, data.box_filter.min_side_px) == (60, 20)


@of("tree", ["etram"], indirect=True)
def test_etram_in_three_classes_and_eight(tree: Path) -> None:
    data = opened("etram", tree)
    assert len({record.path for record in data.train.records}) == 2
    assert data.val.records[0].size_hw == (720, 1280)
    eight = [f"dataset.{one}.boxes=class annotations/eight_class_annotations_{one}" for one in ("train", "val")]
    grouped = opened("etram", tree, *eight, "dataset.class_ids=[0,[1,3,5,6],[2,4,7]]", "dataset.label_every_us=null")
    labels = [label for record in grouped.val.records for label in record.labels.tolist()]
    assert labels[:8] == [0, 1, 2, 1, 2, 1, 1, 2]  # class numbers 0 to 7, each in turn
    with pytest.raises(FileNotFoundError, match=r"eight_annotations: looked for the folder of the box files"):
        opened("etram", tree, "dataset.val.boxes=eight_annotations").val  # noqa: B018


@of("tree", ["dsec_detection"], indirect=True)
def test_dsec_detection(tree: Path) -> None:
    only = "dataset.val_sequences=[zurich_city_16_a]"
    data = opened("dsec_detection", tree, only)
    assert {record.path.parents[2].name for record in data.train.records if record.path} == {"zurich_city_00_a"}
    assert {record.path.parents[2].name for record in data.val.records if record.path} == {"zurich_city_16_a"}
    first = data.val.records[0]
    assert first.t_us == 49_599_350_523, "on the absolute clock"
    # Class numbers 0 and 1, 2 and 3, 4 and 5, 6 and 7: pedestrian, rider; car and bus; truck, bicycle; the rest.
    assert [record.labels.tolist() for record in data.val.records[:4]] == [[1], [0, 0], [0], [1]]
    sample = data.val[1]
    assert sample.frames.shape == (1, 20, 240, 320)
    events = make_events(20_000, span_us=1_000_000, sensor_hw=(480, 640))
    inside = ((events.t >= 100_000) & (events.t < 150_000)).sum()
    assert sample.event_rate == pytest.approx(inside / 0.05)
    test = opened("dsec_detection", tree, "dataset.val.split=test", "dataset.val.sequences=null")
    assert len(test.val) == 8
    with pytest.raises(
        FileNotFoundError, match=r"looked for the sequences zurich_city_17_a, .* found only zurich_city_0"
    ):
        opened("dsec_detection", tree).val  # noqa: B018


@of("tree", ["pedro"], indirect=True)
@of("form", ["yolo", "xml"])
def test_pedro_in_both_forms(tree: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    data = opened("pedro", tree, f"dataset.boxes={form}")
    sample = data.val[0]
    assert sample.targets.boxes_xyxy.numpy() == pytest.approx(np.array([[76, 36, 120, 162]]), abs=1e-3)
    assert sample.frames.shape == (1, 20, 260, 346)
    assert sample.event_rate == pytest.approx(3000 / 0.04, rel=0.01)  # all of a window of 40 ms
    assert f"frame0000002.{ {'yolo': 'txt', 'xml': 'xml'}[form] } (no box file)" in caplog.text
    assert next(iter(data.train_loader())).frames.shape[2:] == (20, 288, 352)


@of("form", ["yolo", "xml"])
def test_real_windows_of_pedro(form: str) -> None:
    data = Pedro(shared_data() / "pedro", "train", ["person"], boxes=form, **FRAMES)
    by_name = {record.path.stem: record for record in data.records if record.path}
    assert by_name.keys() == {"frame0013230", "frame0017525"}
    assert by_name["frame0013230"].boxes_xyxy == pytest.approx(
        np.array([[76, 36, 120, 162], [212, 24, 268, 180]]), abs=1
    )
    assert all(data[i].frames.sum() > 0 for i in range(2))


@of("tree", ["fred"], indirect=True)
def test_fred(tree: Path) -> None:
    data = opened("fred", tree, "dataset.train.sequences=[0,1,2]", "dataset.val.sequences=[7,34]")
    assert {record.path.parents[1].name for record in data.val.records if record.path} == {"7", "34"}
    assert data.val.records[0].t_us == 33_333
    assert data.val.records[0].boxes_xyxy.tolist() == [[601, 290, 681, 340]]
    sample = data.val[2]
    assert sample.frames.shape == (1, 20, 360, 640)
    assert sample.event_rate == pytest.approx(7 * 13 / 0.033333, rel=0.2)  # seven times an event and twelve
    both = [opened("fred", tree).train, opened("fred", tree).val]
    taken = [{record.path for record in one.records} for one in both]
    assert not taken[0] & taken[1]
    assert len(taken[0] | taken[1]) == 5
    (tree / "7" / "interpolated_coordinates.txt").write_text("0.1: 1, 2, 3, 4, 1\n0.2; 1, 2, 3, 4\n")
    with pytest.raises(
        ValueError, match=r"interpolated_coordinates\.txt: line 2: .*expected `seconds: x1, y1, x2, y2`"
    ):
        read_coordinates(tree / "7" / "interpolated_coordinates.txt")


@of("tree", ["ncaltech101"], indirect=True)
def test_ncaltech101(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    sets = [opened("ncaltech101", tree, f"dataset.val.split={one}").val for one in ("train", "val", "test")]
    assert sets[0].class_names == ("Faces_easy", "accordion")
    assert [len(one) for one in sets] == [
        sum(split_of(name, f"{i:04d}") == split for name in sets[0].class_names for i in range(2, 21))
        for split in ("train", "val", "test")
    ]
    assert "annotation_0001.bin (looked for the annotation" in caplog.text
    sample = sets[0][0]
    assert sample.targets.boxes_xyxy.tolist() == [[40, 30, 200, 150]]
    assert sample.frames.shape == (1, 20, 180, 240)
    assert sample.frames.sum() > 0
    shares = [split_of("accordion", f"{i:04d}") for i in range(2000)]
    assert shares.count("train") / 2000 == pytest.approx(0.8, abs=0.03)
    assert shares.count("val") / 2000 == pytest.approx(0.1, abs=0.03)


def test_rvt_tree_gives_our_channels(tmp_path: Path) -> None:
    rvt_tree(tmp_path)
    data = opened("rvt_tree", tmp_path)
    assert [record.t_us for record in data.val.records] == [599_999, 849_999, 1_099_999]
    frames = data.val[2].frames
    assert (frames.shape, frames.dtype) == ((1, 20, 240, 304), torch.uint8)
    # Theirs is 10 * polarity + bin: 13 is on, bin 3. Ours is 2 * bin + polarity; a byte is 25 times the count.
    assert frames[0, 7, 5, 6] == 250
    counts = np.random.default_rng(0).integers(0, 3, (8, 20, 240, 304))
    assert torch.equal(frames[0, 0], torch.from_numpy(counts[7, 0] * 25).to(torch.uint8))
    assert torch.equal(frames[0, 1], torch.from_numpy(counts[7, 10] * 25).to(torch.uint8))
    assert torch.equal(frames[0, 18], torch.from_numpy(counts[7, 9] * 25).to(torch.uint8))
    assert next(iter(data.train_loader())).frames.shape[2:] == (20, 256, 320)


def test_rvt_tree_of_half_the_resolution(tmp_path: Path) -> None:
    rvt_tree(tmp_path, (720, 1280), half=True)
    size = ["dataset.sensor_hw=[720,1280]", "dataset.frame_hw=[360,640]", "dataset.size_hw=[384,640]"]
    data = opened("rvt_tree", tmp_path, *size, "dataset.box_filter=one_mpx")
    sample = data.val[0]
    assert (sample.frames.shape, sample.original_hw, sample.scale_wh) == ((1, 20, 360, 640), (720, 1280), (0.5, 0.5))
    assert data.val.records[0].boxes_xyxy[0].tolist() == [160, 180, 480, 420]
    assert sample.targets.boxes_xyxy[0].tolist() == [80, 90, 240, 210]
    with pytest.raises(
        ValueError, match=r"data are \(8, 20, 360, 640\); expected \[S, 20, 240, 304\].*dataset\.frame_hw"
    ):
        opened("rvt_tree", tmp_path).val  # noqa: B018


def test_rvt_tree_refuses_another_form_of_the_input(tmp_path: Path) -> None:
    rvt_tree(tmp_path)
    for change in ("protocol=cordone", "dataset.window_us=100000", "protocol.representation.cutoff=5"):
        with pytest.raises(ValueError, match=r"frames of an RVT tree are counts in 10 bins .*type protocol=rvt"):
            opened("rvt_tree", tmp_path, change).val  # noqa: B018
    flip = "dataset.train.augment.flip={_target_:emsyolo.dataset.event.augment.FlipLeftRight}"
    with pytest.raises(ValueError, match=r"augment\.flip: an RVT tree has frames, not events"):
        opened("rvt_tree", tmp_path, flip).train  # noqa: B018


def remove(name: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for path in root.rglob(name):
            path.unlink()

    return act


def cut(name: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for path in root.rglob(name):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


@of(
    ("name", "damage", "message"),
    [
        ("one_mpx", remove("*_td.*"), r"looked for \*_td\.dat and found none; expected FOLDER/train"),
        ("one_mpx", remove("*_bbox.npy"), r"001_td_0_60000000_td\.h5 \(no box file\)"),
        ("etram", cut("*_td.h5"), r"val_night_001_td\.h5 \("),
        ("dsec_detection", remove("events.h5"), r"events\.h5 \(looked for a recording and found none\)"),
        ("dsec_detection", remove("tracks.npy"), r"tracks\.npy \(looked for the boxes of a recording and found none\)"),
        ("pedro", remove("*.txt"), r"frame0000000\.txt \(no box file\)"),
        ("pedro", cut("*.npy"), r"frame0000000\.npy \(not a whole file of NumPy's"),
        ("fred", remove("events.raw"), r"events\.raw \(looked for a recording and found none\)"),
        ("fred", remove("*.txt"), r"coordinates\.txt \(looked for the boxes of a recording and found none\)"),
        ("ncaltech101", remove("annotation_*"), r"annotation_\d+\.bin \(looked for the annotation"),
        ("ncaltech101", cut("annotation_*"), r"annotation_\d+\.bin \(12 bytes; expected int16 numbers"),
        ("rvt_tree", remove("event_representations.h5"), r"event_representations\.h5: no such file"),
        ("rvt_tree", remove("labels.npz"), r"labels_v2/labels\.npz: no such file"),
        ("rvt_tree", remove("objframe_idx_2_repr_idx.npy"), r"objframe_idx_2_repr_idx\.npy: no such file"),
        ("rvt_tree", cut("labels.npz"), r"labels_v2/labels\.npz: not a whole \.npz file"),
        ("rvt_tree", cut("event_representations.h5"), r"event_representations\.h5: "),
    ],
)
def test_missing_and_damaged_files_are_named(
    name: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    TREES[name](tmp_path / name)
    damage(tmp_path / name)
    sequences = ["dataset.val_sequences=[zurich_city_16_a]"] if name == "dsec_detection" else []
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(name, tmp_path / name, *sequences).val  # noqa: B018


@of("name", list(TREES))
def test_a_missing_tree_says_what_is_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"looked for .* expected FOLDER"):
        opened(name, tmp_path / "gone").val  # noqa: B018
