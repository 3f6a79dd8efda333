"""The command `emsyolo TASK KEY=VALUE ...`, of which the scripts beside the package are one task each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import emsyolo
from emsyolo.app.config import compose_config
from emsyolo.app.folder import conf_dir
from emsyolo.app.run import any_terminal, message, run
from emsyolo.app.words import did_you_mean, understood

TASKS = {
    "train": "train a detector, measure it, and write weights, figures and pictures",
    "evaluate": "measure a checkpoint: mAP, firing rates, energy, speed; converts an ANN",
    "predict": "detect in images, a video or an event recording",
    "export": "write a checkpoint as ONNX, NIR or safetensors",
}
TOOLS = {  # module and function that take the words after the tool's name and give an exit status
    "sweep-summary": ("emsyolo.app.sweep", "main", "make the table and the picture of a sweep again"),
    "fetch": ("emsyolo.weights.fetch", "main", "fetch published weights of darknet"),
    "doctor": ("emsyolo.app.doctor", "main", "say what is installed, what would run, and what is missing"),
}
HELP = ("-h", "--help", "help")


@dataclass(frozen=True)
class Task:
    """What Hydra calls with the composed config; it can be sent to other processes.

    Attributes:
        name: of the task, which is that of its module and function in this package, and of its config.
        argv: as typed, put back for what starts further processes by it (Lightning).
    """

    name: str
    argv: tuple[str, ...]

    def __call__(self, cfg: DictConfig) -> float | None:
        """Do the task; gives its mAP if it measures one."""
        sys.argv = list(self.argv)
        return run(task(self.name), cfg)


def task(name: str) -> Callable[..., Mapping[str, Any] | None]:
    """The function of a task, imported now: torch takes seconds, for which a message need not wait."""
    found: Callable[..., Mapping[str, Any] | None] = getattr(import_module(f"emsyolo.app.{name}"), name)
    return found


def script(name: str) -> None:
    """The program of a task, as `train.py` is that of `train`; ends with status 1 and one line on bad input."""
    words = sys.argv[1:]
    command = f"python {Path(sys.argv[0]).name}"
    begin(name, words, command, argv=sys.argv[:1])


def begin(name: str, words: Sequence[str], command: str, argv: Sequence[str]) -> None:
    """Check the words of a task and hand them to Hydra.

    Args:
        name: of the task.
        words: what was typed after the command.
        command: what was typed before them, for messages.
        argv: the same as the interpreter has it.
    """
    any_terminal()
    if any(word in HELP for word in words):
        from emsyolo.app.help import task_help

        print(task_help(name, TASKS[name], command))
        return
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else it prints its errors itself, with advice that misleads
    try:
        words = understood(name, words, command)
        sys.argv = [argv[0], *words]
        main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
        main(Task(name, (*argv, *words)))()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        print(f"error: {config_message(error, name, words)}", file=sys.stderr)
        sys.exit(1)


def config_message(error: Exception, name: str, words: Sequence[str]) -> str:
    """What keeps a config from being composed, in one line, with what may have been meant.

    Args:
        error: Hydra's, OmegaConf's or our own.
        name: of the task.
        words: of the command line.
    """
    text = message(error)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown and "match in the defaults list" not in text:
        key = unknown[1]
        return f"{key}: no such key{did_you_mean(key, _keys_near(key, name, words))}"
    option = re.search(
        r"Could not find '([^']+)/([^'/]+)' Available options in '[^']+': (.+?)(?: Config search|$)", text
    )
    if option:
        group, value, options = option.groups()
        there = [word for word in options.split() if not word.startswith("_")]
        return f"{group}={value}: expected one of {', '.join(there)}{did_you_mean(value, there).split('; --help')[0]}"
    return text


def _keys_near(key: str, name: str, words: Sequence[str]) -> list[str]:
    """The keys that the config has without the word that failed, where that one would lie."""
    others = [w for w in words if "=" in w and not w.startswith("-") and w.lstrip("+~").partition("=")[0] != key]
    try:
        cfg = compose_config(name, others)
    except HydraException:
        cfg = compose_config(name, [])
    parent = key.rpartition(".")[0]
    while parent and not OmegaConf.is_dict(OmegaConf.select(cfg, parent)):
        parent = parent.rpartition(".")[0]
    here = OmegaConf.select(cfg, parent) if parent else cfg
    return [f"{parent}.{child!s}" if parent else str(child) for child in here]


def main() -> None:
    """The console command."""
    any_terminal()
    argv = sys.argv
    name, words = (argv[1], argv[2:]) if len(argv) > 1 else ("help", [])
    if name in HELP:
        print(overview())
    elif name == "--version":
        print(emsyolo.__version__)
    elif name in TASKS:
        begin(name, words, f"emsyolo {name}", argv[:2])
    elif name in TOOLS:
        module, function, _ = TOOLS[name]
        sys.exit(getattr(import_module(module), function)(words))
    else:
        known = [*TASKS, *TOOLS]
        print(f"error: emsyolo {name}: expected one of {', '.join(known)}{did_you_mean(name, known)}", file=sys.stderr)
        sys.exit(1)


def overview() -> str:
    """What `emsyolo` says of itself."""
    what = {**TASKS, **{name: text for name, (_, _, text) in TOOLS.items()}}
    lines = [f"  emsyolo {name:14} {text}" for name, text in what.items()]
    return "\n".join(
        [
            f"emsyolo {emsyolo.__version__}: spiking object detectors to train, convert, measure and deploy.\n",
            *lines,
            "\n`emsyolo TASK --help` explains every key of a task. For example:",
            "  emsyolo predict source=photo.jpg            # with weights that are included",
            "  emsyolo train data=FOLDER twin=true         # on your own photographs, in whatever form their boxes are",
            "  emsyolo evaluate report=true                # the newest training, as one HTML page",
        ]
    )
