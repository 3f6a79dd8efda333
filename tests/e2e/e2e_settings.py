"""What the tests of the scripts share."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
# The default data set cut to a few scenes, and the smallest network: the path is the same, the time is not.
TINY = [
    "dataset.limit=24",
    "dataset.size_hw=[96,128]",
    "dataset.batch_size=8",
    "dataset.eval_batch_size=8",
    "model.width=0.125",
    "trainer.max_epochs=2",
]
QUICK = ["speed_s=0", "pictures=false"]  # neither measured nor drawn
