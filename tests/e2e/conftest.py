"""Running the scripts as a user types them, in a folder of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from e2e_settings import QUICK, ROOT, Run
from preloaded import run_afresh, run_program


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of a session share generated data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def script(tmp_path: Path, data_dir: Path) -> Run:
    """`script("train.py", "T=2")`: runs it, with binary neurons where no model is typed; runs/ is in `tmp_path`.

    It draws only where that is asked for. `fresh` gives it an interpreter of its own, as one that starts others needs.
    """

    def run(name: str, *overrides: str, ok: bool = True, fresh: bool = False) -> subprocess.CompletedProcess[str]:
        chosen = any(word.startswith(("model=", "experiment=")) for word in overrides)
        if name == "train.py" and not chosen:
            overrides = (*overrides, "model=ems_small")
        if name in ("train.py", "evaluate.py"):
            drawn = any(word in ("pictures=true", "report=true") for word in overrides)
            overrides = (*overrides, *(QUICK[:1] if drawn else QUICK))
        folders = [f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}"]
        words = [str(ROOT / name), *overrides, *folders]
        done = run_afresh(words, ROOT) if fresh else run_program(words, ROOT)
        if ok:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
