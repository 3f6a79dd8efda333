"""Configs: composing them outside a script, finding a run, and bringing a checkpoint's config back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict

from emsyolo.app.folder import new_folder
from emsyolo.app.trusted import check_trusted
from emsyolo.trainer.fit import LAST
from emsyolo.weights.checkpoint import Weights

# What a checkpoint decides, unless it is typed; of the data set, what makes the network's input.
FROM_CHECKPOINT = ("T", "model", "neuron")
INPUT = ("size_hw", "fit", "window_us", "steps", "representation", "frame_hw")


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


def newest_run(runs_dir: Path, dataset: str, model: str | None, file: str) -> Path:
    """The newest checkpoint of runs on a data set (and of a model, if given).

    Args:
        runs_dir: the folder of all runs.
        dataset: option of the group `dataset`.
        model: option of the group `model`, or None for any.
        file: `best.ckpt` or `last.ckpt`.

    Raises:
        FileNotFoundError: there is none.
    """
    found = list(runs_dir.glob(f"{dataset}/{model or '*'}/**/checkpoints/{file}"))
    if not found:
        raise FileNotFoundError(
            f"no run on dataset={dataset}{f' with model={model}' if model else ''} under {runs_dir}/: looked for "
            f"{dataset}/{model or '*'}/**/checkpoints/{file}; train one (python train.py dataset={dataset}"
            f"{f' model={model}' if model else ''}) or give checkpoint=PATH"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def typed_choice(group: str) -> str | None:
    """The option of a group if it was typed on the command line."""
    typed = any(key == group for key, _ in _typed())
    return HydraConfig.get().runtime.choices[group] if typed else None


def _typed() -> list[tuple[str, str]]:
    """What was typed: keys or groups, and the sign (`+`, `~` or nothing) before each."""
    parsed = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return [(p.key_or_group, "~" if p.is_delete() else "+" if p.is_add() else "") for p in parsed]


def overlay(
    saved: DictConfig, typed: DictConfig, keys: Sequence[str] | None = None, leave: Sequence[str] = ()
) -> DictConfig:
    """A saved config with what was typed now laid over it.

    Args:
        saved: of the checkpoint, not resolved.
        typed: as composed now.
        keys: only what lies under these keys; None: all.
        leave: typed keys that change nothing.
    """
    result = saved.copy()
    with open_dict(result):
        for key, sign in _typed():
            path = key.replace("/", ".").split("@")[0]
            if key in leave or (keys is not None and path.split(".")[0] not in keys):
                continue
            if sign == "~":
                parent, _, last = path.rpartition(".")
                (OmegaConf.select(result, parent) if parent else result).pop(last, None)
            else:
                OmegaConf.update(result, path, _raw(typed, path), merge=False, force_add=True)
    return result


def _raw(cfg: DictConfig, path: str) -> Any:
    """The value under a dotted path, its interpolations unresolved."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in path.split("."):
        plain = plain[part]
    return plain


def saved_config(weights: Weights) -> DictConfig:
    """The config of the training that made the weights, not resolved.

    Raises:
        ValueError: it would call something that this project's own configs do not.
    """
    check_trusted(weights.config["config"], weights.path, conf_dir())
    return OmegaConf.create(weights.config["config"])


def typed_groups() -> set[str]:
    """The first words of what was typed: `T`, `dataset`, `convert`, ..."""
    return {key.split(".")[0].split("@")[0] for key, _ in _typed()}


def with_checkpoint(cfg: DictConfig, weights: Weights, keys: Sequence[str] = FROM_CHECKPOINT) -> DictConfig:
    """The config of a task on a checkpoint: the given keys and the form of the input from it unless typed.

    The data set comes from the checkpoint, too, when only `checkpoint=` was typed.
    """
    saved = saved_config(weights)
    # model=NAME of the checkpoint's own model chose the checkpoint; its settings are those it was trained with.
    leave = ("model",) if typed_choice("model") == weights.config["model"] else ()
    merged = overlay(saved, cfg, keys, leave)
    result = cfg.copy()
    with open_dict(result):
        for key in keys:
            result[key] = _raw(merged, key)
        if cfg.checkpoint is not None and typed_choice("dataset") is None:
            result.dataset = _raw(overlay(saved, cfg, ("dataset",)), "dataset")
        typed = {key for key, _ in _typed()}
        for key in INPUT:
            decided = any(one == "protocol" or one.startswith(f"dataset.{key}") for one in typed)
            if not decided and key in saved.dataset and key in result.dataset:
                result.dataset[key] = _raw(saved, f"dataset.{key}")
        if "model" in typed and not leave:  # another architecture, for the same classes and anchors
            result.model.num_classes = saved.model.num_classes
            result.model.in_channels = saved.model.in_channels
            if "model.anchors" not in typed:
                result.model.anchors = saved.model.anchors
    return result


def first_process() -> bool:
    """Whether this process speaks and writes: alone, or the first that torchrun, SLURM or Lightning started."""
    return getattr(rank_zero_only, "rank", 0) == 0


def run_folder(runs_dir: str, resume: str | None, dataset: str, model: str, now: str) -> str:
    """The folder of a training: a new one, or that of the run that is gone on with. A resolver of OmegaConf.

    A process that is not the first, whose clock may say another `now`, has a temporary one: Hydra writes in any case.
    """
    if not first_process():
        return _temporary().name
    if resume is None:
        return _made(runs_dir, dataset, model, now)
    try:
        return str(resumed_checkpoint(Path(runs_dir), resume, dataset, model).parents[1])
    except FileNotFoundError:  # said by the task itself, in one line
        return _made(runs_dir, dataset, model, now)


@cache
def _made(runs_dir: str, dataset: str, model: str, now: str) -> str:
    """The folder of this process's run, made once: OmegaConf asks for it again and again."""
    return str(new_folder(Path(runs_dir) / dataset / model, now))


def forget_run_folder() -> None:
    """Let the next run of this process have a folder of its own, be it in the same second."""
    _made.cache_clear()


def sweep_time(runs_dir: str, now: str) -> str:
    """The time that names a sweep's folders, of which it has one for each data set and model. A resolver of OmegaConf.

    Two sweeps of one second have different ones: the first is `now`, the second `now_2`.
    """
    return new_folder(Path(runs_dir) / ".sweeps", now).name


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="emsyolo-")


def log_file(path: str) -> str:
    """The log of a training, which the first process alone writes. A resolver of OmegaConf."""
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


def check_protocol() -> None:
    """Refuse a typed protocol that does not exist, for Hydra takes the group as optional.

    Raises:
        ValueError: no such option; names those that there are.
    """
    choice = typed_choice("protocol")
    options = sorted(path.stem for path in (conf_dir() / "protocol").glob("*.yaml"))
    if choice is not None and choice not in options:
        raise ValueError(f"protocol={choice}: no such option; expected one of {', '.join(options)}")


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("log_file", log_file, replace=True)
# Remembered, as `now` is, and handed on to the processes of a launcher.
OmegaConf.register_new_resolver("sweep_time", sweep_time, replace=True, use_cache=True)
