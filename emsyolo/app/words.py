"""The words of a command line, before Hydra reads them: habits from other tools, misspelt keys, split words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from emsyolo.app.folder import conf_dir
from emsyolo.typed import typed

WITH_A_VALUE = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun", "--info", "-i",
)  # fmt: skip
COMMON = "common"  # the config whose keys every task has
OF_ALL = "# @package _global_"  # how a file begins whose keys stand at the top level
NEAR = 0.75  # how alike a misspelt key must be to the one that is proposed

Habit = Callable[[str], list[str]]  # from the value that was typed to the words that mean it here


def _is(key: str) -> Habit:
    return lambda value: [f"{key}={value}"]


def _size(value: str) -> list[str]:
    """`640` is a square; a list is height and width already."""
    return [f"dataset.size_hw=[{value},{value}]" if value.isdigit() else f"dataset.size_hw={value}"]


def _trained_on(value: str) -> list[str]:
    """Ultralytics' `cpu`, `0` and `0,1`."""
    numbers = re.findall(r"\d+", value)
    if len(numbers) > 1:
        return ["trainer=ddp", "trainer.accelerator=gpu", f"trainer.devices=[{','.join(numbers)}]"]
    if numbers:
        return ["trainer.accelerator=gpu", f"trainer.devices=[{numbers[0]}]"]
    return [f"trainer.accelerator={'gpu' if value == 'cuda' else value}"]


def _photographs(value: str) -> list[str]:
    """The folder of a data set, or its `data.yaml`."""
    path = Path(value.strip("'\""))
    root = path.parent if path.suffix in (".yaml", ".yml") else path
    return ["dataset=auto", typed("dataset.root", root)]


def _small(value: str) -> list[str]:
    return ["experiment=small_photos", *_photographs(value)]


# What users of Ultralytics, YOLOv5 or the published EMS-YOLO type, and what it is called here.
_EVERYWHERE: dict[str, Habit] = {
    "imgsz": _size, "img": _size, "img_size": _size, "batch_size": _is("dataset.batch_size"),
    "workers": _is("dataset.num_workers"), "num_workers": _is("dataset.num_workers"), "project": _is("runs_dir"),
    "conf": _is("postprocess.confidence"), "iou": _is("postprocess.iou"), "max_det": _is("postprocess.limit"),
    "timesteps": _is("T"), "time_step": _is("T"), "time_window": _is("T"), "t": _is("T"),
    "threshold": _is("neuron.v_threshold"), "v_threshold": _is("neuron.v_threshold"),
    "root": _is("dataset.root"), "classes": _is("dataset.class_names"), "size_hw": _is("dataset.size_hw"),
}  # fmt: skip
HABITS: dict[str, dict[str, Habit]] = {
    "train": {
        **_EVERYWHERE, "epochs": _is("trainer.max_epochs"), "max_epochs": _is("trainer.max_epochs"),
        "batch": _is("dataset.batch_size"), "lr0": _is("optimizer.optimizer.lr"), "lr": _is("optimizer.optimizer.lr"),
        "device": _trained_on, "devices": _is("trainer.devices"), "patience": _is("trainer.patience"),
        "pretrained": _is("weights"), "checkpoint": _is("weights"), "precision": _is("trainer.precision"),
        "weight_decay": _is("optimizer.weight_decay"), "warmup_epochs": _is("optimizer.warmup_epochs"),
        "mosaic": _is("dataset.augment.mosaic.p"), "fliplr": _is("dataset.augment.flip.p"),
        "close_mosaic": _is("dataset.close_mosaic"), "anchors": _is("dataset.anchors"), "width": _is("model.width"),
        "backend": _is("neuron.backend"),
    },
    "evaluate": {**_EVERYWHERE, "batch": _is("dataset.eval_batch_size"), "weights": _is("checkpoint")},
    "predict": {
        **_EVERYWHERE, "weights": _is("checkpoint"), "name": _is("out"), "save_dir": _is("out"), "data": _is("source"),
    },
    "export": {**_EVERYWHERE, "weights": _is("checkpoint"), "name": _is("out")},
}  # fmt: skip
# Habits that are followed: the user's own photographs are one word.
FOLLOWED: dict[str, dict[str, Habit]] = {
    "train": {"data": _small},
    "evaluate": {"data": _photographs},
    "predict": {"data": _photographs},
    "export": {"data": _photographs},
}


def understood(task: str, words: Sequence[str], command: str) -> list[str]:
    """The words as Hydra shall read them.

    Args:
        task: `train`, `evaluate`, `predict` or `export`.
        words: what was typed after the command.
        command: what was typed before them, such as `emsyolo train`.

    Returns:
        The words, options such as `-m` first, because Hydra reads none between others; `data=FOLDER` as the words that
        it stands for, which give way to what else was typed.

    Raises:
        ValueError: a word that has no meaning here; one line that says what to type.
    """
    known = known_keys(task)
    options: list[str] = []
    result, first, meant, foreign = [], [], [], []
    for before, word in pairwise(("", *words)):
        if before in WITH_A_VALUE or (word.startswith("-") and "=" not in word) or word.startswith("--"):
            options.append(word)
            meant.append(word)
            continue
        if word.startswith("~"):
            result.append(word)
            meant.append(word)
            continue
        key, value = _parted(word)
        top = re.split(r"[./@]", key)[0]
        if top not in known and key in FOLLOWED.get(task, ()):
            first += FOLLOWED[task][key](value)
            meant.append(word)
        elif top not in known and key in HABITS[task]:
            foreign.append(key)
            meant += HABITS[task][key](value)
        else:
            _check(task, word, key, top, known)
            result.append(word)
            meant.append(word)
    if foreign:
        raise ValueError(f"{', '.join(foreign)}: called otherwise here; did you mean: {command} {' '.join(meant)}")
    return options + [word for word in first if not _typed_too(word, result)] + result


def _typed_too(word: str, words: Sequence[str]) -> bool:
    """Whether the key of a word stands in others, too."""
    return any(_parted(other)[0] == _parted(word)[0] for other in words if "=" in other)


def _parted(word: str) -> tuple[str, str]:
    """Key and value of a word.

    Raises:
        ValueError: it has no `=`.
    """
    key, equals, value = word.lstrip("+").partition("=")
    if not equals:
        path = Path(word)
        if path.exists():
            raise ValueError(
                f"{word}: expected KEY=VALUE; did you mean {typed('source', path)} or {typed('data', path)}?"
            )
        raise ValueError(
            f"{word}: expected KEY=VALUE. If the shell made several words of a blank or a *, quote the whole: "
            f"{typed('source', 'FOLDER/*.jpg')}"
        )
    return key, value


def _check(task: str, word: str, key: str, top: str, known: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a word that has no meaning here."""
    if top not in known:
        raise ValueError(f"{word}: {task} has no key {top}{did_you_mean(key, [*known, *HABITS[task]])}")
    value = word.partition("=")[2]
    if value == "null" and key in known and known[key]:  # Hydra's own message names neither
        raise ValueError(f"{word}: expected an option of this group: {', '.join(known[key])}")
    try:
        OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise ValueError(
            f"{word} cannot be read; blanks, parentheses, commas and letters beyond ASCII must be quoted, for Hydra "
            f"and for the shell. Type {typed(word.partition('=')[0], value)}"
        ) from error


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """The end of a sentence on an unknown key."""
    near = get_close_matches(key, known, n=1, cutoff=NEAR)
    return f"; did you mean {near[0]}?" if near else "; --help lists all keys"


@cache
def known_keys(task: str) -> dict[str, tuple[str, ...]]:
    """The keys at the top level of a task's config, and the groups, with their options."""
    # Models bring some, such as T.
    of_all = [path for path in conf_dir().rglob("*.yaml") if path.read_text(encoding="utf-8").startswith(OF_ALL)]
    files = [*(conf_dir() / f"{name}.yaml" for name in (COMMON, task)), *of_all]
    keys = {key: () for file in files for key in _content(file) if key != "defaults"}
    groups = {path.name: tuple(_options(path)) for path in sorted(conf_dir().iterdir()) if path.is_dir()}
    return {**keys, **groups}


def _content(path: Path) -> Mapping[str, object]:
    content: Mapping[str, object] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _options(group: Path) -> Iterator[str]:
    """The options of a group that are meant to be chosen."""
    return (path.stem for path in sorted(group.glob("*.yaml")) if not path.stem.startswith("_"))
