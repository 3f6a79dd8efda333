"""The scripts on event data: train, evaluate, predict along a recording."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from e2e_settings import Run
from event_data import make_events

from emsyolo.dataset.event.dat import write_dat

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TINY = [
    "dataset=digits_dvs",
    "dataset.limit=14",
    "dataset.size_hw=[96,128]",
    "dataset.batch_size=7",
    "dataset.eval_batch_size=7",
]


def test_train_evaluate_and_watch_a_recording(script: Run, tmp_path: Path, data_dir: Path) -> None:
    small = ["model.width=0.125", "trainer.max_epochs=2", "T=2"]
    script("train.py", *TINY, *small)
    (run,) = (tmp_path / "runs").glob("digits_dvs/ems_small/*")
    trained = json.loads((run / "metrics.json").read_text())
    assert trained["by_filter"].keys() == {"none", "prophesee", "cordone", "one_mpx"}
    assert trained["events"]["windows"] == 14
    assert trained["events"]["rate_per_s"] > 1000
    script("evaluate.py", "dataset=digits_dvs", "dataset.limit=14", "dataset.eval_batch_size=7")
    (again,) = [p for p in (tmp_path / "runs").glob("digits_dvs/ems_small/*/metrics.json") if p.parent != run]
    evaluated = json.loads(again.read_text())
    for key in ("mAP", "mAP50", "T", "firing_rate", "by_filter", "events"):
        assert evaluated[key] == trained[key], key

    (recording,) = data_dir.glob("digits_dvs/*/test/0000_td.dat")
    best = run / "checkpoints" / "best.safetensors"
    for stateful, answers in (("false", 25), ("true", 50)):
        out = tmp_path / stateful
        said = script(
            "predict.py", f"source={recording}", f"checkpoint={best}", f"out={out}", f"stream.stateful={stateful}",
            "dataset=digits_dvs",
            "dataset.window_us=80000", "stream.start_us=0", "stream.end_us=2000000", "stream.gif_frames=3",
        ).stdout  # fmt: skip
        assert "real time" in said
        assert (out / "0000_td.gif").stat().st_size > 0
        found = json.loads((out / "predictions.json").read_text())
        assert len(found["images"]) == answers
        assert found["images"][-1]["t_us"] == 2_000_000
        assert found["speed"]["latency_ms"].keys() == {"p50", "p95"}


def test_windows_and_streams_side_by_side(script: Run, tmp_path: Path) -> None:
    small = ["model.width=0.125", "trainer.max_epochs=1", "T=2", "dataset.warm_up_steps=[0,3]"]
    script("train.py", *TINY, *small)
    (run,) = (tmp_path / "runs").glob("digits_dvs/*/*")
    assert "val/carried_mAP50" in (run / "metrics.csv").read_text().splitlines()[0]
    said = script("evaluate.py", *TINY, "stream=true").stdout
    assert "Along streams" in said
    (again,) = [p for p in (tmp_path / "runs").glob("digits_dvs/*/*/metrics.json") if p.parent != run]
    found = json.loads(again.read_text())
    stream = found["stream"]
    assert stream["recordings"] == 2
    assert stream["windows"]["mAP50"] == found["mAP50"]
    for way in ("windows", "carried"):
        assert stream[way]["images"] == 14
        assert stream[way]["early"]["images"] + stream[way]["later"]["images"] == 14
    # The recordings are 2 s long, labelled every 250 ms from 0.5 s on: six steps of 60 ms fit four.
    assert stream["steps"] == 2 * (9 + 6 * 4)
    assert stream["latency_ms"].keys() == {"p50", "p95"}


def test_only_recordings_are_streamed(script: Run, tmp_path: Path) -> None:
    done = script("train.py", "dataset.limit=8", "dataset.warm_up_steps=[0,3]", ok=False)
    assert "dataset.warm_up_steps" in done.stdout + done.stderr


def test_protocols_decide_the_input(script: Run, tmp_path: Path) -> None:
    script(
        "train.py", *[one for one in TINY if "size_hw" not in one], "protocol=rvt", "T=1", "model.width=0.125",
        "trainer.max_epochs=1",
    )  # fmt: skip
    (run,) = (tmp_path / "runs").glob("digits_dvs/ems_small/*")
    assert "in_channels: 20" in (run / "config.yaml").read_text()
    script("evaluate.py", "dataset=digits_dvs", "dataset.limit=7", "dataset.eval_batch_size=7")


def gen1(folder: Path) -> None:
    """A tree in Gen1's form with its file names: per split a recording in the older form of boxes."""
    events = make_events(3000, span_us=1_000_000, sensor_hw=(240, 304))
    for split in ("train", "val"):
        base = folder / "gen1" / split / "17-03-30_12-53-58_1037500000_1097500000"
        write_dat(Path(f"{base}_td.dat"), events, (240, 304), datetime(2017, 3, 30, 12, 53, 58))
        rows = np.zeros(8, dtype=[("ts", "<u8"), *((side, "<f4") for side in "xywh"), ("class_id", "u1"),
                                  ("confidence", "<f4"), ("track_id", "<u4")])  # fmt: skip
        rows["ts"] = np.arange(8) // 2 * 250_000  # the first before the first event
        rows["x"], rows["y"] = np.arange(8) * 40 - 10, 100  # the first and the last reach outside
        rows["w"], rows["h"] = 40 + 3 * np.arange(8), 60
        rows["class_id"], rows["track_id"] = np.arange(8) % 2, np.arange(8)
        np.save(f"{base}_bbox.npy", rows)


def test_gen1_trains_and_evaluates(script: Run, tmp_path: Path) -> None:
    gen1(tmp_path)
    data = ["dataset=gen1_dvs", f"dataset.root={tmp_path / 'gen1'}", "dataset.num_workers=0"]
    script("train.py", *data, "T=5", "dataset.batch_size=2", "model.width=0.125", "trainer.max_epochs=1")
    said = script("evaluate.py", *data, "dataset.eval_batch_size=2").stdout
    assert "pedestrian" in said
    last = max((tmp_path / "runs").glob("gen1_dvs/ems_small/*/metrics.json"), key=lambda path: path.stat().st_mtime)
    metrics = json.loads(last.read_text())
    assert (metrics["T"], metrics["images"], metrics["events"]["empty_windows"]) == (5, 4, 1)
    assert metrics["by_filter"]["prophesee"]["images"] == 2


def test_recordings_with_coco_json_train(script: Run, tmp_path: Path) -> None:
    events = make_events(3000, span_us=1_000_000, sensor_hw=(240, 304))
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "a.npy", np.stack([events.t, events.x, events.y, events.p], axis=1))
        images = [
            {"id": i, "file_name": "a.npy", "t_us": 250_000 * i, "height": 240, "width": 304} for i in range(1, 5)
        ]
        marks = [
            {"id": 2 * i + j, "image_id": i, "category_id": 1, "bbox": [20 + 90 * j, 30, 50 + 9 * i, 60]}
            for i in range(1, 5)
            for j in range(2)
        ]
        truth = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "person"}]}
        (tmp_path / f"{split}.json").write_text(json.dumps(truth))
    script(
        "train.py", "dataset=event_coco", f"dataset.root={tmp_path}", "dataset.num_workers=0", "dataset.batch_size=2",
        "T=2", "model.width=0.125", "trainer.max_epochs=1",
    )  # fmt: skip
    (metrics,) = (tmp_path / "runs").glob("event_coco/ems_small/*/metrics.json")
    assert json.loads(metrics.read_text())["images"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=digits_dvs", "protocol=foo"], "protocol=foo: expected one of cordone, digits_dvs, ems, "),
        (["protocol=ems"], "Could not override 'protocol'. No match in the defaults list."),
        (["dataset=gen1_dvs"], "looked for the folder of the recordings and found none; expected FOLDER/train"),
        (["dataset=nmnist_scenes"], "looked for it and found none; expected the recordings NUMBER.bs2"),
        (["dataset=digits_dvs", "dataset.box_filter=foo"], "dataset.box_filter"),
    ],
)
def test_bad_input_is_one_line(script: Run, arguments: list[str], message: str) -> None:
    done = script("train.py", *arguments, ok=False)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
