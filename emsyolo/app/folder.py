"""The folder of the configs, and those for what a task writes, each for only one task."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

TWIN = "twin"  # of a run that trains a twin first: what lies in this folder is the twin's
UNUSUAL = re.compile(r"[^\w.+-]+")  # in names that stand in paths, patterns and commands


def conf_dir() -> Path:
    """The folder of the configs: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if beside.is_dir() else package / "conf"


def folder_name(path: object) -> str:
    """The name of a folder, for folders of its runs: letters and digits of any script, `.`, `+`, `-` and `_`.

    Args:
        path: of the folder, which need not exist; a number is its name.
    """
    name = Path(os.path.normpath(Path(str(path)).expanduser().absolute())).name  # a link's own, not where it leads
    return UNUSUAL.sub("_", name).strip("._") or "data"


def new_folder(parent: Path, stem: str) -> Path:
    """Make `parent/stem`, or `stem_2`, `stem_3`, ... where another task, perhaps of the same second, has made that."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = parent / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() has no end")


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint, `RUN/checkpoints/FILE`; of a twin's, that of the whole run."""
    folder = checkpoint.parents[1]
    return folder.parent if folder.name == TWIN else folder
