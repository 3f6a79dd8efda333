"""The commands in a subprocess: train, evaluate, predict, sweep, interrupt and resume."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml
from e2e_settings import QUICK, ROOT, TINY, Run
from preloaded import run_program, start_program
from torchvision.io import write_png

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


# The keys of metrics.json that tools read.
CONTRACT = {
    "mAP",
    "mAP50",
    "mAP75",
    "mAP_small",
    "mAP_medium",
    "mAP_large",
    "per_class",
    "best_threshold",
    "f1",
    "precision",
    "recall",
    "boxes",
    "T",
    "images",
    "firing_rate",
    "layers",
    "impure",
    "energy",
    "latency_ms",
    "throughput",
    "parameters",
    "checkpoint",
    "dataset",
    "model",
}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_train_evaluate_predict(script: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    said = script("train.py", "T=2", *TINY, "pictures=true").stdout
    assert "anchors: auto" in said
    assert "mAP" in said
    run = only(runs, "digits/ems_small/*")
    pictures = [
        "detections.png",
        "precision_recall.png",
        "firing_rates.png",
        "training.png",
        "labels.png",
        "train_batch.png",
        "confusion.png",
        "score.png",
    ]
    checkpoints = ["checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    for name in ("config.yaml", "metrics.csv", "metrics.json", "train.log", *pictures, *checkpoints):
        assert (run / name).stat().st_size > 0, name
    assert list(run.glob("tensorboard/events*"))
    trained = json.loads((run / "metrics.json").read_text())
    assert trained.keys() >= CONTRACT
    assert trained["T"] == 2
    assert trained["images"] == 24
    assert {row["name"] for row in trained["impure"]} == {"backbone.stem.0", "head.maps.0", "head.maps.1"}
    assert trained["energy"]["ratio"] == pytest.approx(trained["energy"]["snn_mJ"] / trained["energy"]["ann_mJ"])

    said = script("evaluate.py", "dataset.limit=24", "dataset.eval_batch_size=8", "report=true").stdout
    assert str(run / "checkpoints" / "best.ckpt") in said
    (again,) = [p for p in runs.glob("digits/ems_small/*/metrics.json") if p.parent != run]
    assert all(again.with_name(name).exists() for name in ("best.png", "worst.png", "report.html"))
    evaluated = json.loads(again.read_text())
    for key in ("mAP", "mAP50", "T", "firing_rate", "energy", "parameters"):
        assert evaluated[key] == trained[key], key

    shared = run / "checkpoints" / "best.safetensors"
    script("evaluate.py", f"checkpoint={shared}", "T=5", "dataset.limit=8", "precision=bf16")
    last = max(runs.glob("digits/ems_small/*/metrics.json"), key=os.path.getmtime)
    assert json.loads(last.read_text())["T"] == 5

    source = tmp_path / "source"
    source.mkdir()
    write_png(torch.randint(0, 256, (3, 90, 200), dtype=torch.uint8), str(source / "a.png"))
    (source / "b.png").write_bytes(b"not a picture")
    out = tmp_path / "out"
    every_box = "postprocess.confidence=0.0"
    said = script("predict.py", f"source={source}", f"checkpoint={shared}", f"out={out}", every_box).stdout
    assert "b.png cannot be read and is left out" in said
    found = json.loads((out / "predictions.json").read_text())
    assert found["images"] == [{"id": 0, "file_name": "a.png", "height": 90, "width": 200}]
    assert len(found["categories"]) == 10
    assert found["annotations"]
    for box in found["annotations"]:
        x, y, w, h = box["bbox"]
        assert min(x, y, w, h) >= 0
        assert x + w <= 200.01
        assert y + h <= 90.01
    assert (out / "a.png").exists()


def test_video_comes_back_with_boxes(script: Run, tmp_path: Path) -> None:
    script("train.py", *TINY, "trainer.max_epochs=1", "T=1", "dataset.limit=8")
    source = tmp_path / "moving.mp4"
    with av.open(str(source), "w") as video:
        stream = video.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 641, 361, "yuv444p"  # odd, which the video written cannot be
        for i in range(6):
            pixels = np.zeros((361, 641, 3), dtype=np.uint8)
            pixels[80:240, 40 * i : 40 * i + 120] = 200
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        video.mux(stream.encode(None))
    out = tmp_path / "out"
    done = script("predict.py", f"source={source}", f"out={out}", "postprocess.confidence=0.01")
    assert "6 frames" in done.stdout
    found = json.loads((out / "predictions.json").read_text())
    assert [round(one["t_s"], 3) for one in found["images"]] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert {(one["height"], one["width"]) for one in found["images"]} == {(361, 641)}
    with av.open(str(out / "moving.mp4")) as video:
        assert [(frame.height, frame.width) for frame in video.decode(video=0)] == [(360, 640)] * 6
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    failed = script("predict.py", f"source={tmp_path / 'bad.mp4'}", f"out={tmp_path / 'no'}", ok=False)
    assert failed.returncode == 1
    assert "bad.mp4 cannot be read as a video" in failed.stderr
    assert not (tmp_path / "no").exists() or not any((tmp_path / "no").iterdir())


def test_sweep_goes_on_after_a_failure_and_ends_with_table_and_plot(script: Run, tmp_path: Path) -> None:
    done = script("train.py", "-m", "neuron.v_threshold=0.3,-1,0.7", *TINY, "trainer.max_epochs=1", "T=1")
    folder = only(tmp_path / "runs", "digits/ems_small/*")
    rows = json.loads((folder / "sweep.json").read_text())
    assert [row["neuron.v_threshold"] for row in rows] == [0.3, -1, 0.7]
    assert "neuron.v_threshold is -1" in rows[1]["failed"]
    assert [json.loads((folder / n / "metrics.json").read_text())["mAP"] for n in "02"] == [
        rows[0]["mAP"],
        rows[2]["mAP"],
    ]
    for n, threshold in (("0", "0.3"), ("2", "0.7")):
        assert f"v_threshold: {threshold}" in (folder / n / "config.yaml").read_text()
    assert (folder / "sweep.png").stat().st_size > 0
    assert [row["neuron.v_threshold"] for row in csv.DictReader((folder / "sweep.csv").open())] == ["0.3", "-1", "0.7"]
    assert "v_threshold" in done.stdout


def test_the_default_is_integer_valued_and_pure_when_unrolled(script: Run, tmp_path: Path) -> None:
    script(
        "train.py",
        *TINY,
        "model=ems_small_ilif",
        "dataset.limit=8",
        "trainer.max_epochs=1",
        "trainer.log_every_n_steps=1",
    )
    (run,) = (tmp_path / "runs").glob("digits/ems_small_ilif/*")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["T"] == 1
    assert {row["levels"] for row in metrics["layers"]} == {16, None}
    assert "train/dfl" in (run / "metrics.csv").read_text().splitlines()[0]
    best = run / "checkpoints" / "best.ckpt"
    script("evaluate.py", f"checkpoint={best}", "unroll=true", "dataset.limit=8", "dataset.eval_batch_size=4")
    (again,) = [path for path in (tmp_path / "runs").glob("digits/*/*/metrics.json") if path.parent != run]
    unrolled = json.loads(again.read_text())
    assert [row["name"] for row in unrolled["impure"]] == ["backbone.stem.0"]
    for key in ("mAP", "mAP50"):
        assert unrolled[key] == pytest.approx(metrics[key], abs=1e-3)
    assert unrolled["energy"]["snn_mJ"] == pytest.approx(metrics["energy"]["snn_mJ"], rel=1e-3)
    script("export.py", f"checkpoint={best}", "unroll=true", "neuron.levels=2", f"out={tmp_path / 'planes.onnx'}")
    failed = script("train.py", *TINY, "model=ems_small_ilif", "loss=yolo", ok=False)
    assert "loss YOLOLoss reads maps of AnchorLayout, the model's head gives PointLayout" in failed.stderr


def test_neurons_are_compared_in_one_table(script: Run, tmp_path: Path) -> None:
    small = [*TINY, "model=ems_small", "dataset.limit=8", "trainer.max_epochs=1"]
    script("train.py", "-m", "experiment=compare_neurons", *small)
    rows = json.loads(max((tmp_path / "runs").glob("digits/*/*/sweep.json")).read_text())
    assert [row["neuron"] for row in rows] == ["lif", "ilif_d1", "ilif_d2", "ilif", "ilif_d8", "ilif_d16", "relu"]
    assert not [row for row in rows if "failed" in row]


def test_blocks_are_compared_in_one_table(script: Run, tmp_path: Path) -> None:
    tiny = [one for one in TINY if not one.startswith("model.width")]
    done = script("train.py", "-m", "experiment=compare_blocks", *tiny, "dataset.limit=8", "trainer.max_epochs=1")
    rows = json.loads(max((tmp_path / "runs").glob("digits/*/*/sweep.json")).read_text())
    assert [row["model"] for row in rows] == ["ems_small", "ms_small", "sew_small", "ann_small"]
    ems, ms, _, ann = (row["non_spike_macs"] for row in rows)  # of SEW it depends on how many spikes meet
    assert ems < ms < ann
    assert len({row["parameters"] for row in rows}) == 1
    assert rows[-1]["energy_ratio"] == pytest.approx(1)
    for row in rows:
        assert 0 < row["energy_mJ"] <= rows[-1]["energy_mJ"]
        assert row["firing_rate"] is None if row is rows[-1] else 0 < row["firing_rate"] < 1
        assert row["training_s"] > 0
    for column in ("non_spike_macs", "parameters", "energy_mJ", "firing_rate", "training_s"):
        assert column in done.stdout


def test_search_takes_the_metric_and_goes_on_after_a_failure(script: Run, tmp_path: Path) -> None:
    script(
        "train.py", "-m", "hparams_search=optuna", "hydra.sweeper.n_trials=4", "model.depth=choice(7,10)", *TINY,
        "trainer.max_epochs=1", "T=1", "dataset.limit=8",
    )  # fmt: skip
    folder = only(tmp_path / "runs", "digits/ems_small/*")
    rows = json.loads((folder / "sweep.json").read_text())
    assert len({row["neuron.v_threshold"] for row in rows}) == 4
    assert {row["model.depth"] for row in rows} == {7, 10}
    assert all(("failed" in row) == (row["model.depth"] == 7) for row in rows)
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(row["mAP"] for row in rows if "mAP" in row)


def test_two_keys_make_a_heat_map_and_a_trained_network_is_swept_over_t(script: Run, tmp_path: Path) -> None:
    keys = ["neuron.v_threshold=0.3,0.5", "neuron.decay=0.25,0.5"]
    script("train.py", "-m", *keys, *TINY, "dataset.limit=8", "trainer.max_epochs=1", "T=1")
    folder = only(tmp_path / "runs", "digits/ems_small/*")
    rows = json.loads((folder / "sweep.json").read_text())
    found = [(row["neuron.v_threshold"], row["neuron.decay"]) for row in rows]
    assert found == [(0.3, 0.25), (0.3, 0.5), (0.5, 0.25), (0.5, 0.5)]
    assert all(row["mAP"] is not None for row in rows)
    assert (folder / "sweep.png").stat().st_size > 0

    best = folder / "0" / "checkpoints" / "best.ckpt"
    script("evaluate.py", "-m", "T=1,2", f"checkpoint={best}", "dataset.limit=8", "dataset.eval_batch_size=8")
    rows = json.loads(only(tmp_path / "runs", "sweeps/evaluate/*/sweep.json").read_text())
    assert [row["T"] for row in rows] == [1, 2]
    assert rows[0]["mAP"] == json.loads((folder / "0" / "metrics.json").read_text())["mAP"]
    assert rows[1]["energy_mJ"] > rows[0]["energy_mJ"]


@pytest.mark.parametrize(
    "launcher",
    [["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], ["hydra/launcher=submitit_local"]],
    ids=["joblib", "submitit"],
)
def test_runs_of_a_sweep_may_be_processes(script: Run, tmp_path: Path, launcher: list[str]) -> None:
    script(
        "train.py", "-m", *launcher, "seed=0,1", "memory=recompute", *TINY,
        "dataset.limit=8", "trainer.max_epochs=1", "T=1", fresh=True,
    )  # fmt: skip
    folder = only(tmp_path / "runs", "digits/ems_small/*")
    assert [row["seed"] for row in json.loads((folder / "sweep.json").read_text())] == [0, 1]


def weights(run: Path) -> dict[str, Any]:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return {**state["current_model_state"], **{f"average.{k}": v for k, v in state["state_dict"].items()}}


def history(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def in_second_epoch(runs: Path) -> bool:
    rows = [row for found in runs.glob("*/*/*/metrics.csv") for row in history(found.parent)]
    return any(float(row.get("epoch") or 0) == 1 for row in rows)


WINDOWS = ["T=2", "dataset.limit=64"]
STREAMS = ["dataset=digits_dvs", "dataset.sequence=4", "dataset.limit=28", "dataset.batch_size=4"]


@pytest.mark.parametrize(
    ("how", "more"),
    [
        (signal.SIGINT, WINDOWS),
        (signal.SIGKILL, WINDOWS),
        (signal.SIGINT, STREAMS),
    ],
    ids=["interrupt", "kill", "streams"],
)
def test_interrupted_training_ends_as_if_it_had_not_been(
    how: signal.Signals, more: list[str], tmp_path: Path, data_dir: Path
) -> None:
    settings = [*TINY, *QUICK, "trainer.max_epochs=3", "trainer.log_every_n_steps=1", *more]

    def words(runs: str, *more: str) -> list[str]:
        return [str(ROOT / "train.py"), f"data_dir={data_dir}", f"runs_dir={tmp_path / runs}", *more]

    assert run_program(words("whole", *settings), ROOT).returncode == 0
    whole = only(tmp_path / "whole", "*/*/*")

    process = start_program(words("cut", *settings), ROOT, tmp_path / "said", tmp_path / "said")
    deadline = time.monotonic() + 300
    while not in_second_epoch(tmp_path / "cut") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, how)
    process.join(120)
    assert process.exitcode
    cut = only(tmp_path / "cut", "*/*/*")
    step = torch.load(cut / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < max(int(row["step"]) for row in history(whole))

    assert run_program(words("cut", *more[:1], "resume=last"), ROOT).returncode == 0
    assert only(tmp_path / "cut", "*/*/*") == cut
    one, other = weights(whole), weights(cut)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (whole, cut)]
    assert metrics[0]["mAP"] == metrics[1]["mAP"]
    assert [row["train/loss"] for row in history(whole)] == [row["train/loss"] for row in history(cut)]
