"""Weights and config in one file that cannot run code: what evaluate.py, predict.py and export.py read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from emsyolo.model.detector import Detector
from emsyolo.types import Candidates
from emsyolo.weights.checkpoint import save_weights


@dataclass(frozen=True)
class Safetensors:
    """`format=safetensors`.

    Args:
        bits: of a weight in the file: 32, 16 or 8 (see `emsyolo.weights.bits.packed`).
    """

    bits: int = 32

    suffix: ClassVar[str] = ".safetensors"
    needs_frames: ClassVar[bool] = False

    def write(self, detector: Detector, frames: Tensor, path: Path, about: Mapping[str, Any]) -> list[Path]:
        """See `emsyolo.deploy.export.Export`."""
        save_weights(path, detector, about["config"], self.bits)
        return [path]

    def run(self, paths: list[Path], detector: Detector, frames: Tensor) -> dict[Path, Candidates]:
        """Nothing: it is the checkpoint again."""
        return {}
