"""Training in several processes, as a user starts it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from e2e_settings import ROOT, TINY, Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "dataset.num_workers=0", "T=1"]


def test_one_run_folder_and_every_image_once(script: Run, tmp_path: Path) -> None:
    done = script("train.py", *TINY, *TWO, "dataset.limit=21", "dataset.batch_size=4", fresh=True)
    (run,) = (tmp_path / "runs").glob("digits/ems_small/*")
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/mAP"]]
    assert len(rows) == 2
    assert json.loads((run / "metrics.json").read_text())["images"] == 21
    # 21 images over two processes wrap to 11 each: two full batches per epoch.
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    assert done.stdout.count("epoch 1/2") == 1


def test_streams_in_two_processes(script: Run, tmp_path: Path) -> None:
    streams = ["dataset=digits_dvs", "dataset.sequence=4", "dataset.limit=14", "dataset.batch_size=2"]
    script("train.py", *TINY, *TWO, *streams, "trainer.max_epochs=1", fresh=True)
    (run,) = (tmp_path / "runs").glob("digits_dvs/*/*")
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    # T = 1: steps of 120 ms. Of the 17 of each recording the first is too early for a clip that ends at 0.5 s; the rest
    # are four clips of four steps, walked by a place of each process.
    assert last["global_step"] == 4
    assert len(last["streams"]) == 2


def test_torchrun_makes_one_run_folder(tmp_path: Path, data_dir: Path) -> None:
    folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(ROOT / "train.py"), *TINY, *TWO, "trainer.max_epochs=1", *folders]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    (run,) = (tmp_path / "runs").glob("*/*/*")
    logs = sorted(path.name for path in run.glob("*.log"))
    assert logs == ["train.log"]
    assert (run / "train.log").read_text().count("epoch 1/1") == 1
    assert (run / "metrics.json").exists()
    assert not list(tmp_path.glob("emsyolo-*"))  # the second process's folder went with it


def test_several_processes_inside_a_sweep_are_refused(script: Run, tmp_path: Path) -> None:
    script("train.py", "-m", "seed=0,1", *TINY, *TWO)
    (table,) = (tmp_path / "runs").glob("digits/ems_small/*/sweep.json")
    failed = [row["failed"] for row in json.loads(table.read_text())]
    assert len(failed) == 2
    for line in failed:
        assert "-m with hydra/launcher=basic and a training in 2 processes; expected one process" in line


def test_more_processes_than_validation_images_are_refused(script: Run) -> None:
    done = script("train.py", *TINY, *TWO, "dataset.val.limit=1", ok=False, fresh=True)
    assert done.returncode == 1
    assert "has 1 validation images for 2 processes; expected at least one for each" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_killed_process_ends_the_training(tmp_path: Path, data_dir: Path, victim: str) -> None:
    folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    command = [sys.executable, str(ROOT / "train.py"), *TINY, *TWO, "trainer.max_epochs=10000", *folders]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
        try:
            other = _when(lambda: _child(process.pid) if "epoch 2/" in (tmp_path / "said").read_text() else None, 120)
            os.kill(process.pid if victim == "first" else other, signal.SIGKILL)
            if victim == "first":
                process.wait(timeout=10)
                _when(lambda: True if _gone(other) else None, 60)
            else:
                assert process.wait(timeout=60) != 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _when(found: object, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()  # type: ignore[operator]
        if value is not None:
            return value
        time.sleep(0.2)
    raise TimeoutError


def _child(parent: int) -> int | None:
    """The process of the second rank."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"LOCAL_RANK=1" in (path / "environ").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None


def _gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
