"""Configs: what a task was asked for, and laying what was typed over a checkpoint's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from emsyolo.app.folder import conf_dir
from emsyolo.app.runs import register_resolvers
from emsyolo.app.trusted import check_trusted

if TYPE_CHECKING:  # which brings torch
    from emsyolo.weights.checkpoint import Weights

register_resolvers()
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


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """A config as a script would see it; works inside a Hydra program, too, whose state is put back."""
    state = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose(name, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = state


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
