"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_settings import ROOT, TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("train_on_coco_json.py", [], "mAP@0.5"),
        ("convert_ann.py", ["1", *TINY[:4]], "signed T=16"),
        ("watch_events.py", ["1", "dataset.limit=7", "dataset.size_hw=[96,128]", "model.width=0.125"], "latency p50"),
    ],
)
def test_example(name: str, arguments: list[str], says: str, tmp_path: Path, data_dir: Path) -> None:
    folders = [] if name.startswith("train") else [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
    command = [sys.executable, str(ROOT / "examples" / name), *arguments, *folders]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert says in done.stdout
