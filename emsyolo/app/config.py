"""Configs: what a task was asked for, finding a run, and laying what was typed over a checkpoint's config."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from emsyolo.app.folder import folder_name, new_folder, run_of
from emsyolo.app.trusted import check_trusted
from emsyolo.process import process_rank
from emsyolo.weights import LAST

if TYPE_CHECKING:  # which brings torch
    from emsyolo.weights.checkpoint import Weights

# What a checkpoint decides, unless it is typed; of the data set, what makes the network's input.
FROM_CHECKPOINT = ("T", "model", "neuron", "head", "temporal")
INPUT = ("size_hw", "fit", "window_us", "steps", "representation", "frame_hw")
DIVISION = ("format", "val_share", "split_seed")  # what decides which images of a folder are validated on


@dataclass(frozen=True)
class Asked:
    """What a task was asked for, from the shell, in a sweep or from Python.

    Attributes:
        cfg: as composed.
        overrides: the words that were typed, such as `neuron.v_threshold=0.3`.
        choices: the option of each group.
        out: the folder of the run.
        sweep: it is one run of several.
    """

    cfg: DictConfig
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    out: Path
    sweep: bool = False

    @classmethod
    def of_hydra(cls, cfg: DictConfig) -> Asked:
        """What Hydra knows of the run that it has begun."""
        hydra = HydraConfig.get()
        return cls(
            cfg,
            tuple(hydra.overrides.task),
            dict(hydra.runtime.choices),
            Path(hydra.runtime.output_dir),
            hydra.mode == RunMode.MULTIRUN,
        )

    def names(self, key: str) -> bool:
        """Whether a key or group was typed."""
        return any(path == key for path, _ in typed_paths(self.overrides))

    def choice(self, group: str) -> str | None:
        """The option of a group, if it was typed, or chosen by the experiment that was."""
        return self.choices[group] if self.names(group) or group in self._of_experiment() else None

    def _of_experiment(self) -> set[str]:
        """The groups that the experiment chooses."""
        experiment = self.choice("experiment") if self.names("experiment") else None
        if experiment is None:
            return set()
        content = yaml.safe_load((conf_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
        chosen = [key for row in content.get("defaults", ()) if isinstance(row, dict) for key in row]
        return {key.removeprefix("override ").strip().lstrip("/").split("@")[0] for key in chosen}


def conf_dir() -> Path:
    """The folder of the configs: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if beside.is_dir() else package / "conf"


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """A config as a script would see it; works inside a Hydra program, too, whose state is put back."""
    state = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose(name, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = state


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


def typed_paths(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """What was typed: the dotted path of each word, and the sign (`+`, `~` or nothing) before it."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    paths = [override.key_or_group.replace("/", ".").split("@")[0] for override in parsed]
    return [(path, "~" if p.is_delete() else "+" if p.is_add() else "") for path, p in zip(paths, parsed, strict=True)]


def overlay(
    saved: DictConfig,
    composed: DictConfig,
    overrides: Sequence[str],
    keys: Sequence[str] | None = None,
    leave: Sequence[str] = (),
) -> DictConfig:
    """A saved config with what was typed now laid over it.

    Args:
        saved: of the checkpoint, not resolved.
        composed: as composed now.
        overrides: what was typed.
        keys: only what lies under these keys; None: all.
        leave: typed paths that change nothing.
    """
    result = saved.copy()
    with open_dict(result):
        for path, sign in typed_paths(overrides):
            top = path.split(".")[0]
            if path in leave or top not in composed or (keys is not None and top not in keys):
                continue  # an experiment has no key of its own
            if sign == "~":
                parent, _, last = path.rpartition(".")
                (OmegaConf.select(result, parent) if parent else result).pop(last, None)
            else:
                OmegaConf.update(result, path, _raw(composed, path), merge=False, force_add=True)
    return result


def _raw(cfg: DictConfig, path: str) -> Any:
    """The value under a dotted path, its interpolations unresolved."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in path.split("."):
        value = value[part]
    return value


def saved_config(weights: Weights, key: str = "config") -> DictConfig:
    """The config of the training that made the weights, not resolved.

    Args:
        weights: see above.
        key: of what is stored with them; another names the config of another training.

    Raises:
        ValueError: it would call something that this project's own configs do not.
    """
    check_trusted(weights.config[key], weights.path, conf_dir())
    return OmegaConf.create(weights.config[key])


def with_checkpoint(asked: Asked, weights: Weights, keys: Sequence[str] = FROM_CHECKPOINT) -> DictConfig:
    """The config of a task on a checkpoint: the given keys and the form of the input from it unless typed.

    The data set comes from the checkpoint, too, where neither `dataset=` nor an experiment chose another.
    """
    saved, composed = saved_config(weights), asked.cfg
    # model=NAME of the checkpoint's own model chose the checkpoint; its settings are those it was trained with.
    leave = ("model",) if asked.choice("model") == weights.config["model"] else ()
    merged = overlay(saved, composed, asked.overrides, keys, leave)
    result = composed.copy()
    paths = [path for path, _ in typed_paths(asked.overrides)]
    with open_dict(result):
        for key in keys:
            if key in merged:
                result[key] = _raw(merged, key)
        if asked.choice("dataset") is None:
            result.dataset = _raw(overlay(saved, composed, asked.overrides, ("dataset",)), "dataset")
        _take_input(result, saved, overlay(saved, composed, asked.overrides, ("protocol",)), paths)
        _take_division(result, saved, paths)
        if "model" in paths and not leave:  # another architecture, for the same classes and anchors
            result.model.num_classes = saved.model.num_classes
            result.model.in_channels = saved.model.in_channels
            if "model.anchors" not in paths and "anchors" in saved.model and "anchors" in result.model:
                result.model.anchors = saved.model.anchors
    return result


def _take_input(result: DictConfig, saved: DictConfig, merged: DictConfig, paths: Sequence[str]) -> None:
    """Let the checkpoint decide what makes the network's input, where nothing of it was typed."""
    if "protocol" in paths:
        return
    for key in INPUT:
        typed = any(path.startswith(f"dataset.{key}") for path in paths)
        if not typed and key in saved.dataset and key in result.dataset:
            result.dataset[key] = _raw(saved, f"dataset.{key}")
    if "protocol" in merged:
        result.protocol = _raw(merged, "protocol")


def _take_division(result: DictConfig, saved: DictConfig, paths: Sequence[str]) -> None:
    """Let the checkpoint decide which images of its own folder are validated on, lest it is trained on some of them."""
    if saved.dataset.get("root") is None or result.dataset.get("root") != saved.dataset.root:
        return
    for key in DIVISION:
        if f"dataset.{key}" not in paths and key in saved.dataset and key in result.dataset:
            result.dataset[key] = _raw(saved, f"dataset.{key}")


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


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("log_file", log_file, replace=True)
# Remembered, as `now` is, and handed on to the processes of a launcher.
OmegaConf.register_new_resolver("sweep_time", sweep_time, replace=True, use_cache=True)
