"""Running the scripts as a user types them, in a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from e2e_settings import ROOT, Run


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of a session share generated data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def script(tmp_path: Path, data_dir: Path) -> Run:
    """`script("train.py", "T=2")`: runs it, with binary neurons where no model is typed; runs/ is in `tmp_path`."""

    def run(name: str, *overrides: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        chosen = any(word.startswith(("model=", "experiment=")) for word in overrides)
        if name == "train.py" and not chosen:
            overrides = (*overrides, "model=ems_small")
        if name in ("train.py", "evaluate.py"):
            overrides = (*overrides, "speed_s=0")
        folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
        command = [sys.executable, str(ROOT / name), *overrides, *folders]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
        if ok:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
