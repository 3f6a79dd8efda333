"""What a training shows: a bar with loss parts, mAP and images/s, and one line per epoch."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from emsyolo.bar import on_screen
from emsyolo.types import Batch

log = logging.getLogger(__name__)
SHOWN_EVERY_S = 0.5  # each look at the figures waits for the device
SHOWN = ("train/loss", "val/mAP", "val/mAP50", "val/carried_mAP50")  # after the loss's parts


class Progress(RichProgressBar):
    """Lightning's rich bar with the loss's parts, the figures of `SHOWN` and images/s, and a log line per epoch.

    Args:
        phase: before each line, for a training that is one of several.
    """

    def __init__(self, phase: str = "") -> None:
        super().__init__(leave=False)
        if not on_screen():
            self.disable()
        self._phase = phase
        self._started = 0.0
        self._images = 0
        self._training_s = 0.0
        self._figures: dict[str, float] = {}
        self._read_at = -math.inf

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_epoch_start(trainer, pl_module)
        self._images, self._training_s, self._started = 0, 0.0, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count images."""
        self._images += len(batch) * trainer.world_size
        self._training_s = time.monotonic() - self._started
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def images_per_s(self) -> float:
        """Training images per second in this epoch, over all processes."""
        return self._images / self._training_s if self._training_s else 0.0

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The figures beside the bar, read anew every half second."""
        if time.monotonic() - self._read_at >= SHOWN_EVERY_S:
            self._figures = _read(trainer, pl_module)
            self._read_at = time.monotonic()
        return {**self._figures, "images/s": self.images_per_s()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line per epoch, which also reaches the log file."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            shown = {**_read(trainer, pl_module), "images/s": self.images_per_s()}
            figures = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            log.info("%sepoch %d/%s  %s", self._phase, trainer.current_epoch + 1, trainer.max_epochs, figures)


def _read(trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
    """The figures as they are now, by one transfer."""
    known = trainer.callback_metrics
    names = (*(f"train/{part}" for part in getattr(pl_module, "parts", ())), *SHOWN)
    there = [name for name in names if name in known]
    if not there:
        return {}
    values = torch.stack([known[name].float() for name in there]).tolist()
    return {name.split("/")[1]: value for name, value in zip(there, values, strict=True)}
