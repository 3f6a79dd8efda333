"""A training that is killed again and again, at any moment, ends as if it had not been."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_settings import QUICK, ROOT, TINY
from preloaded import run_program, start_program

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
KILLS = int(os.environ.get("EMSYOLO_KILLS", "3"))  # 20 before a release
EPOCHS = 3 + KILLS
# A save is due after every batch: many a kill hits one.
SETTINGS = [
    *TINY, *QUICK, "T=2", f"trainer.max_epochs={EPOCHS}", "dataset.limit=64", "dataset.num_workers=0",
    "trainer.checkpoint_minutes=0.0001", "trainer.log_every_n_steps=1",
]  # fmt: skip


def words_of(data_dir: Path, runs: Path, *more: str) -> list[str]:
    return [str(ROOT / "train.py"), f"data_dir={data_dir}", f"runs_dir={runs}", *more]


def end_of(runs: Path) -> tuple[dict[str, Any], list[str]]:
    """The weights and their averages, and the losses by step."""
    (run,) = runs.glob("digits/*/*")
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best.ckpt", "best.md", "best.safetensors", "last.ckpt",
    ]  # fmt: skip
    with (run / "metrics.csv").open(newline="") as file:
        losses = [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]
    weights = {**state["current_model_state"], **{f"average.{k}": v for k, v in state["state_dict"].items()}}
    return weights, losses


def changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def test_killed_at_any_moment(tmp_path: Path, data_dir: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_program(words_of(data_dir, whole, *SETTINGS), ROOT, 900).returncode == 0
    rng = random.Random(KILLS)
    words, kills = SETTINGS, 0
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    while True:
        last = next(cut.glob("*/*/*/checkpoints/last.ckpt"), cut / "none")
        before = changed(last)
        said = tmp_path / f"said{kills}"
        process = start_program(words_of(data_dir, cut, *words), ROOT, said, said)
        if kills < KILLS:
            deadline = time.monotonic() + 120
            while changed(last) == before and process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
                last = next(cut.glob("*/*/*/checkpoints/last.ckpt"), last)
            time.sleep(rng.uniform(0, 0.6))
            assert process.pid is not None
            os.kill(process.pid, signals[kills % len(signals)])
            process.join(120)
            if process.exitcode == 0:  # a fast machine: it had ended
                break
            kills += 1
            words = ["resume=last"]
        else:
            process.join(900)
            assert process.exitcode == 0, said.read_text()[-3000:]
            break
    assert kills > 0
    (weights, losses), (other, others) = end_of(whole), end_of(cut)
    assert weights.keys() == other.keys()
    assert [name for name in weights if not torch.equal(weights[name], other[name])] == []
    assert losses == others


@pytest.mark.parametrize("dataset", ["digits", "digits_dvs"])
def test_two_processes_that_make_one_cache(tmp_path: Path, dataset: str) -> None:
    words = [f"dataset={dataset}", "dataset.train.limit=8", "dataset.val.limit=null"]
    code = (
        "import sys; from emsyolo.app.build import data_of; from emsyolo.app.config import compose_config; "
        "val = data_of(compose_config('train', sys.argv[1:])).val; print(len(val), float(val[7].frames.sum()))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"data_dir={tmp_path}", *words],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
