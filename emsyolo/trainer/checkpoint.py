"""Checkpoints of a training: written whole or not at all, at moments from which it can go on exactly."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from emsyolo.io import remove_leftovers, written_whole


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that replace the old file only when they are completely on disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary file beside `path`, then rename.

        Raises:
            OSError: the disk is full or not writable; the file that was there is untouched.
        """
        with written_whole(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: from the start on, after each validation, every `minutes`, and when a training is interrupted.

    Ctrl-C (SIGINT) and SIGTERM take effect between two batches, so that the checkpoint is exact; a second Ctrl-C stops
    at once. During a validation they wait for its end, because the network then holds averaged weights.

    Args:
        path: of the checkpoint.
        minutes: > 0.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        super().__init__()
        self.path = path
        self.minutes = minutes
        self._saved_at = time.monotonic()
        self._signal: int | None = None
        self._stopping = False
        self._before: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for the signals that end a training; remove what a kill within a save left."""
        if trainer.is_global_zero:
            for path in self.path.parent.glob("*.ckpt"):
                remove_leftovers(path)
        self._saved_at = time.monotonic()
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at once, so that resume=last finds this run, and no older one, whenever it is killed."""
        if not self.path.exists():
            self._save(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()
        self._stopping = self._any(trainer, self._signal is not None)

    @staticmethod
    def _any(trainer: Trainer, here: bool) -> bool:
        """Whether it is so in any process: all must save, and stop, after the same batch."""
        return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop after a save that was asked for; not within it, because loggers still write the step that led to it."""
        if self._stopping:
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if asked to stop, or if the last save is too long ago."""
        ends_epoch = trainer.is_last_batch  # the validation that follows ends with a save
        due = time.monotonic() - self._saved_at > 60 * self.minutes
        if self._any(trainer, self._signal is not None or due) and not ends_epoch:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after each validation of a training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)


def position(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """Where a Lightning checkpoint was taken: the epoch to go on in, and the batches of it that are done."""
    loop = checkpoint["loops"]["fit_loop"]
    batches = loop["epoch_loop.batch_progress"]
    done = batches["current"]["ready"]
    if batches["is_last_batch"]:
        return loop["epoch_progress"]["current"]["processed"] + 1, 0
    return loop["epoch_progress"]["current"]["processed"], done
