"""Makes the zoo: `python -m emsyolo.app.zoo add NAME CHECKPOINT WORDS...` and `python -m emsyolo.app.zoo table`."""

from __future__ import annotations

import argparse
import copy
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from emsyolo.app.build import resolved
from emsyolo.app.checkpoint import trained_detector, weights_in
from emsyolo.app.config import compose_config, saved_config
from emsyolo.app.python import call
from emsyolo.neuron.neuron import spikes_of
from emsyolo.report.card import markdown_table, model_card
from emsyolo.report.table import count, decimal, percent
from emsyolo.weights.checkpoint import MEASURED, Weights, save_weights
from emsyolo.weights.zoo import SUFFIX, ZOO, in_zoo, zoo_names

BITS = 8
COMMAND = "command"  # in a file of the zoo: the one that trained it
ABSOLUTE = re.compile(r"[/~\\\\]|[A-Za-z]:[/\\\\]")
AS_TRAINED = "as_trained"  # and the figures in 32 bits
LOCAL = ("data_dir", "runs_dir", "dataset.root", "weights", "teacher")  # settings that say where files lie
HEAD = """# The zoo

Trained detectors that come with emsyolo: `checkpoint=zoo:NAME` for evaluate, predict and export,
`weights=zoo:NAME` and `teacher=zoo:NAME` for train, `load_detector("zoo:NAME")` in Python. Each has a card with its
figures by class and by T, `emsyolo/zoo/NAME.md`. Weights are stored in 8 bits, and the figures are measured so. The
best epoch is selected on the images that are evaluated.
"""


def portable(config: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A training's config without paths of the machine that it ran on.

    Args:
        config: as stored, not resolved.
        usual: the config of the same kind with nothing typed, whose folders are taken.

    Raises:
        ValueError: another setting is an absolute path; names it.
    """
    plain = copy.deepcopy(dict(config))
    for key in LOCAL:
        *parents, last = key.split(".")
        of, theirs = plain, usual
        for parent in parents:
            of, theirs = of[parent], theirs[parent]
        of[last] = theirs.get(last)
    if paths := absolute_paths(plain):
        raise ValueError(f"{', '.join(paths)}: absolute paths of this machine; expected none")
    return plain


def absolute_paths(value: Any, key: str = "config") -> list[str]:
    """What of nested values is an absolute path, as `key=value`."""
    if isinstance(value, Mapping):
        return [found for name, one in value.items() for found in absolute_paths(one, f"{key}.{name}")]
    if isinstance(value, list):
        return [found for place, one in enumerate(value) for found in absolute_paths(one, f"{key}[{place}]")]
    return [f"{key}={value}"] if isinstance(value, str) and ABSOLUTE.match(value) else []


def add(name: str, checkpoint: Path, words: Sequence[str]) -> Path:
    """Put a trained detector into the zoo: measured, in 8 bits, with its card.

    Args:
        name: what it is to be called.
        checkpoint: of the training.
        words: of the command line, after `train`, that trained it; those that say where its data lies are used here and
            are not kept.

    Raises:
        ValueError: see `portable`.
    """
    weights = weights_in(checkpoint)
    kept = [word for word in words if word.partition("=")[0] not in LOCAL]
    here = [word for word in words if word.partition("=")[0] in ("data_dir", "dataset.root")]
    usual: Any = OmegaConf.to_container(compose_config("train", kept), resolve=False)
    config = {**weights.config, "config": portable(weights.config["config"], usual)}
    root = ["dataset.root=FOLDER"] if any(word.startswith("dataset.root=") for word in here) else []
    config[COMMAND] = shlex.join(["emsyolo", "train", *kept, *root])
    detector = trained_detector(saved_config(weights), weights)
    with tempfile.TemporaryDirectory() as folder:
        measured = []
        for bits in (32, BITS):
            path = Path(folder) / f"{bits}{SUFFIX}"
            save_weights(path, detector, config, bits)
            found = call("evaluate", f"checkpoint={path}", *here, f"runs_dir={folder}", "sheet_images=1")
            measured.append({**found, "checkpoint": in_zoo(name)})
    config[AS_TRAINED] = {key: measured[0][key] for key in ("mAP50", "mAP")}
    config[MEASURED] = measured[1]
    ZOO.mkdir(exist_ok=True)
    path = ZOO / f"{name}{SUFFIX}"
    save_weights(path, detector, config, BITS)
    return card(weights_in(path), path)


def card(weights: Weights, path: Path) -> Path:
    """Write the card of a detector of the zoo beside it."""
    about = {**weights.config, "config": resolved(saved_config(weights)), "checkpoint": in_zoo(path.stem)}
    return model_card(path, about, weights.config[MEASURED])


def table() -> str:
    """The zoo as a page of Markdown, from what its files say."""
    heads = ("`checkpoint=`", "data", "classes", "input, px", "T", "D", "mAP@0.5", "mAP", "in 32 bits", "firing rate",
             "energy, mJ", "of the ANN's", "parameters", "file, MB", "licence of the data")  # fmt: skip
    all_weights = {name: weights_in(in_zoo(name)) for name in zoo_names()}
    parts = [
        HEAD,
        markdown_table(heads, [_row(name, weights) for name, weights in all_weights.items()]),
        "Trained by:",
        "\n".join(f"- `{in_zoo(name)}`: `{weights.config[COMMAND]}`" for name, weights in all_weights.items()),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _row(name: str, weights: Weights) -> tuple[str, ...]:
    config, found = saved_config(weights), weights.config[MEASURED]
    spikes, before = spikes_of(instantiate(config.model.neuron)()), weights.config[AS_TRAINED]
    size_hw = resolved(config)["dataset"]["size_hw"]
    return (
        f"`{in_zoo(name)}`", found["dataset"], str(len(weights.config["class_names"])), f"{size_hw[0]}x{size_hw[1]}",
        str(found["T"]), "-" if spikes is None else str(spikes.levels), decimal(found["mAP50"]), decimal(found["mAP"]),
        f"{decimal(before['mAP50'])}, {decimal(before['mAP'])}", percent(found["firing_rate"]),
        decimal(found["energy"]["snn_mJ"]), percent(found["energy"]["ratio"]), count(found["parameters"]),
        f"{weights.path.stat().st_size / 1e6:.1f}", str(config.dataset.licence),
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m emsyolo.app.zoo", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    adding = tasks.add_parser("add")
    adding.add_argument("name")
    adding.add_argument("checkpoint", type=Path)
    adding.add_argument("words", nargs="*", help="as typed after train")
    tasks.add_parser("table")
    typed = parser.parse_args(words)
    print(add(typed.name, typed.checkpoint, typed.words) if typed.task == "add" else table(), end="")


if __name__ == "__main__":
    main()
