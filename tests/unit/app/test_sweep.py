"""Hydra's multirun of a task that does not train."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from matplotlib.image import imread

PROGRAM = """
import json

import hydra

from emsyolo.app.folder import conf_dir
from emsyolo.app.run import run
from emsyolo.report.style import new_figure, save


def task(asked):
    cfg = asked.cfg
    if cfg.T == 2:
        raise RuntimeError("CUDA out of memory. Tried to\\n allocate 20 GiB")
    metrics = {"mAP": cfg.T / 10, "energy": {"snn_mJ": 1.0}, "impure": []}
    (asked.out / "metrics.json").write_text(json.dumps(metrics))
    save(new_figure(1, 1), asked.out / "detections.png")
    return metrics


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg):
    return run(task, cfg)


main()
"""


def test_a_run_that_fails_in_any_way_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    # A key that is deleted has no value.
    command = [sys.executable, "program.py", "-m", "T=1,2,3", "~trainer.log_every_n_steps"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = tmp_path.glob("runs/digits/ems_small_ilif/*/sweep.csv")
    rows = list(csv.DictReader(table.open()))
    assert [row["T"] for row in rows] == ["1", "2", "3"]
    assert [row["mAP"] for row in rows] == ["0.1", "", "0.3"]
    assert [row["failed"] for row in rows] == ["", "RuntimeError: CUDA out of memory. Tried to allocate 20 GiB", ""]
    assert table.with_suffix(".png").stat().st_size > 0
    assert imread(table.with_name("detections.png")).shape[1] == 2 * 120  # two runs' sheets of an inch
    assert 'raise RuntimeError("CUDA out of memory' in done.stderr  # the traceback, for the log
