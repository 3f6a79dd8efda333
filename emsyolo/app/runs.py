"""The folders of runs: found, named, made for one run only, and removed where nothing was trained in them."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from emsyolo.app.folder import conf_dir, folder_name, new_folder, run_of
from emsyolo.process import process_rank
from emsyolo.weights import LAST


def newest_run(runs_dir: Path, dataset: str | None, model: str | None, file: str) -> Path:
    """The newest checkpoint of runs (on a data set and of a model, if given).

    Args:
        runs_dir: the folder of all runs.
        dataset: name of the data set, or None for any.
        model: option of the group `model`, or None for any.
        file: `best.ckpt` or `last.ckpt`.

    Raises:
        FileNotFoundError: there is none.
    """
    pattern = f"{dataset or '*'}/{model or '*'}/**/checkpoints/{file}"
    found = list(runs_dir.glob(pattern))
    if not found:
        chosen = "".join(f" {key}={value}" for key, value in (("dataset", dataset), ("model", model)) if value)
        # What an experiment or a folder is called is no option.
        option = dataset is None or (conf_dir() / "dataset" / f"{dataset}.yaml").is_file()
        raise FileNotFoundError(
            f"no run{f' with{chosen}' if chosen else ''} under {runs_dir}/: looked for {pattern}; train one"
            f"{f' (python train.py{chosen})' if option else ''} or give checkpoint=PATH"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def first_process() -> bool:
    """Whether this process speaks and writes: alone, or the first that torchrun, SLURM or Lightning started."""
    return process_rank() == 0


def run_folder(runs_dir: str, resume: str | None, dataset: str, model: str, now: str, name: str | None = None) -> str:
    """The folder of a training: a new one, or that of the run that is gone on with. A resolver of OmegaConf.

    It is called by the time, or by `name=` if that was typed.

    A process that is not the first, whose clock may say another `now`, has a temporary one: Hydra writes in any case.
    """
    if not first_process():
        return _temporary().name
    now = now if name is None else checked_name(name)
    if resume is None:
        return _made(runs_dir, dataset, model, now)
    try:
        return str(run_of(resumed_checkpoint(Path(runs_dir), resume, dataset, model)))
    except FileNotFoundError:  # said by the task itself, in one line
        return _made(runs_dir, dataset, model, now)


@cache
def _made(runs_dir: str, dataset: str, model: str, now: str) -> str:
    """The folder of this process's run, made once: OmegaConf asks for it again and again."""
    return str(new_folder(Path(runs_dir) / dataset / model, now))


def checked_name(name: str) -> str:
    """The name of a run, which names its folder.

    Raises:
        ValueError: one that no folder can have on every system.
    """
    if not re.fullmatch(r"[\w-][\w. +-]*", str(name)):
        raise ValueError(f"name={name}: expected letters, digits, -, _, + and . for the name of a folder")
    return str(name)


def forget_run_folder() -> None:
    """Let the next run of this process have a folder of its own, be it in the same second."""
    _made.cache_clear()


def discard_run_folder(folder: Path) -> None:
    """Remove the folder of a training that failed before it began: one that Hydra wrote into, without a checkpoint."""
    if not (folder / ".hydra").is_dir() or (folder / "checkpoints").exists():
        return
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
        if folder in Path(handler.baseFilename).parents:
            root.removeHandler(handler)
            handler.close()
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:2]:  # model and data set
        with suppress(OSError):
            parent.rmdir()  # if it is empty


def sweep_time(runs_dir: str, now: str, name: str | None = None) -> str:
    """What names a sweep's folders, of which it has one for each data set and model: `name=`, else the time.

    A resolver of OmegaConf. Two sweeps of one second have different ones: the first is `now`, the second `now_2`.
    """
    return new_folder(Path(runs_dir) / ".sweeps", now if name is None else checked_name(name)).name


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="emsyolo-")


def log_file(path: str) -> str:
    """The log of a training, which only the first process writes. A resolver of OmegaConf."""
    return path if first_process() else os.devnull


def resumed_checkpoint(runs_dir: Path, resume: str, dataset: str, model: str) -> Path:
    """The checkpoint that `resume=PATH|last` means; `last` is the newest of the data set and model.

    Raises:
        FileNotFoundError: there is none.
    """
    if resume == "last":
        return newest_run(runs_dir, dataset, model, LAST)
    path = Path(resume)
    if not path.is_file():
        raise FileNotFoundError(f"resume={resume}: no such file; give the path of a run's {LAST}, or resume=last")
    return path.resolve()


def register_resolvers() -> None:
    """Let configs name what is found out when a task begins: `${run_folder:...}` and so on."""
    for name, resolver in (("run_folder", run_folder), ("folder_name", folder_name), ("log_file", log_file)):
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    # Remembered, as `now` is, and handed on to the processes of a launcher.
    OmegaConf.register_new_resolver("sweep_time", sweep_time, replace=True, use_cache=True)
