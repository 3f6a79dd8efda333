"""The measurement after every epoch of a training, by which `best.ckpt` is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from emsyolo.evaluator.coco import SCORES, CocoEvaluator
from emsyolo.model.postprocess import Postprocess
from emsyolo.types import Batch, HeadMaps


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
        for name in SCORES:
            pl_module.log(f"val/{name}", metrics[name] or 0.0, sync_dist=True)
