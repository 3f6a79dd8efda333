"""What a training shows: a bar with loss parts, mAP and images/s, one line per epoch, and the mAP itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Batch, HeadMaps

log = logging.getLogger(__name__)
SHOWN = ("train/box", "train/objectness", "train/class", "train/loss", "val/mAP", "val/mAP50")


class Validate(Callback):
    """Measures mAP after every epoch and logs it as `val/mAP`, `val/mAP50`, `val/mAP75`.

    Args:
        evaluator: makes a fresh evaluator of the validation set.
        postprocess: head maps to detections.
    """

    def __init__(self, evaluator: Callable[[], CocoEvaluator], postprocess: Postprocess) -> None:
        self.new_evaluator = evaluator
        self.postprocess = postprocess
        self.evaluator = evaluator()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from nothing."""
        self.evaluator = self.new_evaluator()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the detections of one batch."""
        maps: HeadMaps = outputs["head_maps"]
        self.evaluator.update(self.postprocess(maps), batch.samples)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute, over all processes, and log."""
        self.evaluator.gather()
        metrics = self.evaluator.compute()
        for name in ("mAP", "mAP50", "mAP75"):
            pl_module.log(f"val/{name}", metrics[name] or 0.0, sync_dist=True)


class Progress(RichProgressBar):
    """Lightning's rich progress bar with the figures of `SHOWN` and images/s, and a log line per epoch."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._started = 0.0
        self._images = 0
        self._training_s = 0.0

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
        """The figures beside the bar."""
        shown = {
            name.split("/")[1]: float(trainer.callback_metrics[name])
            for name in SHOWN
            if name in trainer.callback_metrics
        }
        return {**shown, "images/s": self.images_per_s()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line per epoch, which also reaches the log file."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in self.get_metrics(trainer, pl_module).items())
            log.info("epoch %d/%s  %s", trainer.current_epoch + 1, trainer.max_epochs, figures)
