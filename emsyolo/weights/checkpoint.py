"""Weights in files: safetensors with the config inside, and Lightning checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from emsyolo.io import written_whole
from emsyolo.weights.bits import packed, unpacked

MEASURED = "measured"  # in a file's config: the figures of metrics.json, of detectors that come with them
_PREFIX = "detector."  # of the detector's tensors in a Lightning checkpoint


@dataclass(frozen=True)
class Weights:
    """A trained detector in a file.

    Attributes:
        path: of the file.
        state: the detector's tensors by name.
        config: what rebuilds and explains it: `config` (of the training), `dataset`, `model`, `class_names`, and of a
            converted network `conversion`, the settings it was converted with.
    """

    path: Path
    state: dict[str, Tensor]
    config: dict[str, Any]

    @property
    def conversion(self) -> dict[str, Any] | None:
        """How an ANN became this spiking network; None: it was trained as it is."""
        found: dict[str, Any] | None = self.config.get("conversion")
        return found


def read_weights(path: Path) -> Weights:
    """The weights in a `.safetensors` file or a Lightning `.ckpt`; neither can run code.

    Weights that are stored in 8 or 16 bits are given in 32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut off, or is not one of emsyolo's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; give the path of a .ckpt or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                config = json.loads((file.metadata() or {})["emsyolo"])
                state = unpacked({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            config = checkpoint["hyper_parameters"]
            state = {n.removeprefix(_PREFIX): t for n, t in checkpoint["state_dict"].items() if n.startswith(_PREFIX)}
    except Exception as error:  # a stranger's file may fail in any way, but runs nothing
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {reason}); "
            "it is cut off or was not written by emsyolo"
        ) from error
    _check(state, config, path)
    return Weights(path, state, config)


def _check(state: dict[Any, Any], config: Any, path: Path) -> None:
    """Refuse what is not of the form that is written."""
    expected = {"config": dict, "class_names": list, "dataset": str, "model": str}
    wrong = [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]
    if wrong:
        problem = f"{str(wrong[0])[:80]} is no tensor"
    elif not state:
        problem = "it holds no weights of a detector"
    elif not isinstance(config, dict):
        problem = "its description is no table"
    else:
        wrong = [key for key, kind in expected.items() if not isinstance(config.get(key), kind)]
        names = config.get("class_names")
        if not wrong and not (names and all(isinstance(name, str) and name.isprintable() for name in names)):
            wrong = ["class_names"]
        if not wrong and not isinstance(config.get("conversion", {}), dict):
            wrong = ["conversion"]
        problem = f"{wrong[0]} is missing or of another type" if wrong else ""
    if problem:
        raise ValueError(f"checkpoint {path}: {problem}; it was not written by emsyolo")


def save_weights(path: Path, detector: nn.Module, config: Mapping[str, Any], bits: int = 32) -> None:
    """Write a detector and its config into one safetensors file, completely or not at all.

    Args:
        path: of the file.
        detector: see above.
        config: what rebuilds and explains it; see `Weights`.
        bits: of a weight: 32, 16 or 8; see `packed`.

    Raises:
        ValueError: another number of bits.
        OSError: the file could not be written; what was there is untouched.
    """
    kept = packed(detector.state_dict(), bits)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
    with written_whole(path) as temporary:
        save_file(state, temporary, metadata={"emsyolo": json.dumps(dict(config))})


def load_weights(detector: nn.Module, weights: Weights) -> None:
    """Fill a detector with weights that fit it exactly.

    Raises:
        ValueError: names or shapes that differ, the first of them named: another architecture.
    """
    own = detector.state_dict()
    problems = [f"{name} is missing in the file" for name in own.keys() - weights.state.keys()]
    problems += [f"{name} is not in the detector" for name in weights.state.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(tensor.shape)} in the file and {tuple(own[name].shape)} in the detector"
        for name, tensor in weights.state.items()
        if name in own and own[name].shape != tensor.shape
    ]
    if problems:
        raise ValueError(
            f"checkpoint {weights.path} holds another architecture (model {weights.config.get('model')}): "
            f"{'; '.join(sorted(problems)[:4])}" + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        )
    detector.load_state_dict(weights.state)
