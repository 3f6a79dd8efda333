"""The examples run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_settings import QUICK, ROOT, TINY
from preloaded import run_program

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def example(name: str, *arguments: str, tmp_path: Path) -> str:
    done = run_program([str(ROOT / "examples" / name), *arguments], tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_train_on_coco_json(tmp_path: Path) -> None:
    assert "mAP@0.5" in example("train_on_coco_json.py", tmp_path=tmp_path)


def test_convert_ann_trains_one_or_takes_one(tmp_path: Path, data_dir: Path) -> None:
    folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    said = example("convert_ann.py", "1", *TINY[:5], *QUICK, *folders, tmp_path=tmp_path)
    assert "signed T=16" in said
    (trained,) = (tmp_path / "runs").glob("digits/spiking_yolov3_fc/*/checkpoints/best.ckpt")
    again = example("convert_ann.py", str(trained), *TINY[:4], *QUICK, *folders, tmp_path=tmp_path)
    assert again.splitlines()[-1] == said.splitlines()[-1]
    assert again.splitlines()[-1].startswith("the ANN: mAP@0.5 ")
    assert len(list((tmp_path / "runs").glob("digits/spiking_yolov3_fc/*/checkpoints"))) == 1  # not trained again


def test_watch_events(tmp_path: Path, data_dir: Path) -> None:
    small = ["1", "dataset.limit=7", "dataset.size_hw=[96,128]", "model.width=0.125", *QUICK]
    folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    assert "latency p50" in example("watch_events.py", *small, *folders, tmp_path=tmp_path)


def test_convert_your_own(tmp_path: Path) -> None:
    lines = example("convert_your_own.py", "2", "8", tmp_path=tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["signed T= 2", "signed T= 8", "radix  T= 2", "radix  T= 8"]
    off = [float(line.split("fine ")[1].split("%")[0]) for line in lines]
    assert off[1] < off[0]
    assert off[3] < 1
    assert lines[3].endswith("after 32 steps")
