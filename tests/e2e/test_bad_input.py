"""Input that cannot be used: one clear line that names it, and a non-zero exit."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from e2e_settings import ROOT, Run
from e2e_settings import TINY as SMALL
from torchvision.io import write_png

TINY = [*SMALL, "dataset.limit=8", "dataset.batch_size=4", "trainer.max_epochs=1", "T=1"]
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def coco_tree(root: Path, text: str | None = None) -> list[str]:
    """One image with one box as COCO JSON, and the overrides that read it."""
    root.mkdir()
    write_png(torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8), str(root / "a.png"))
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 96}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (root / "a.json").write_text(json.dumps(truth) if text is None else text)
    splits = [f"dataset.{split}.{key}" for split in ("train", "val") for key in ("images=.", "json=a.json")]
    return ["dataset=coco", f"dataset.root={root}", "dataset.size_hw=[64,96]", "dataset.num_workers=0", *splits]


def fails(script: Run, said: str, *overrides: str) -> None:
    done = script("train.py", *overrides, ok=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if said in line]
    assert len(lines) == 1, done.stdout[-2000:] + done.stderr[-2000:]


def test_missing_folder(script: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    fails(script, str(nowhere), "dataset=coco", f"dataset.root={nowhere}", *TINY)


def test_cut_json(script: Run, tmp_path: Path) -> None:
    fails(script, "a.json", *TINY, *coco_tree(tmp_path / "set", '{"images": [{"id": 1'))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("T=0", "T is 0"),
        ("dataset.size_hw=[96,130]", "dataset.size_hw"),
        ("neuron.threshold=1", "neuron.threshold"),
        ("optimizer.schedule=step", "optimizer.schedule is 'step'"),
        ("resume=nowhere.ckpt", "resume=nowhere.ckpt: no such file"),
        ("weights=nowhere.ckpt", "checkpoint nowhere.ckpt does not exist"),
    ],
)
def test_bad_values(script: Run, override: str, said: str) -> None:
    done = script("train.py", *TINY, override, ok=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_loss_that_is_not_finite(script: Run) -> None:
    wild = ["optimizer.optimizer.lr=1e30", "trainer.gradient_clip_val=null", "optimizer.warmup_epochs=0"]
    fails(script, "the loss is nan at epoch 0, batch", *TINY, *wild, "dataset.limit=32")


def test_another_architecture(script: Run, tmp_path: Path) -> None:
    script("train.py", *TINY)
    (best,) = (tmp_path / "runs").glob("*/*/*/checkpoints/best.ckpt")
    done = script("evaluate.py", f"checkpoint={best}", "model=ems_resnet18", "dataset.limit=8", ok=False)
    assert done.returncode == 1
    assert "holds another architecture (model ems_small)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_loses_no_checkpoint(script: Run, tmp_path: Path, data_dir: Path) -> None:
    script("train.py", *TINY)
    (last,) = (tmp_path / "runs").glob("*/*/*/checkpoints/last.ckpt")
    before = last.read_bytes()
    # A limit on file size fails a write in the middle, as a full disk does.
    limit = len(before) // 2
    folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *folders, "model=ems_small", "resume=last", "trainer.max_epochs=2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=600,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode != 0
    assert "could not be written" in done.stderr
    assert last.read_bytes() == before
    assert {p.name for p in last.parent.iterdir()} == {"best.ckpt", "last.ckpt", "best.safetensors", "best.md"}
