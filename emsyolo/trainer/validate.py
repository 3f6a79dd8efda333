"""The measurement after every epoch of a training, by which `best.ckpt` is chosen: on windows, or along streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from emsyolo.dataset.datamodule import DataModule
from emsyolo.evaluator.coco import SCORES, CocoEvaluator
from emsyolo.model.postprocess import Postprocess, found_in_each
from emsyolo.types import Batch, HeadMaps

CARRIED = "carried_"  # before the name of a figure


def best_figure(data: DataModule) -> str:
    """The figure by which epochs are compared: of what was trained, windows or streams."""
    return "mAP" if data.sequence is None else f"{CARRIED}mAP"


class Validate(Callback):
    """Measures mAP after every epoch and logs it as `val/mAP`, `val/mAP50`, `val/mAP75`.

    Where windows of events are led up to (`dataset.warm_up_steps`), it is measured with the state carried over from the
    steps before as well, and logged as `val/carried_mAP` and so on.

    Args:
        evaluator: makes a fresh evaluator of the validation set.
        postprocess: head maps to detections.
        carried: measure with carried state, too.
    """

    def __init__(
        self, evaluator: Callable[[], CocoEvaluator], postprocess: Postprocess, *, carried: bool = False
    ) -> None:
        self.new_evaluator = evaluator
        self.postprocess = postprocess
        self.prefixes = ("", CARRIED) if carried else ("",)
        self.evaluators = {prefix: evaluator() for prefix in self.prefixes}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from nothing."""
        self.evaluators = {prefix: self.new_evaluator() for prefix in self.prefixes}

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
        found: dict[str, HeadMaps] = outputs
        maps = [found[f"{prefix}head_maps"] for prefix in self.evaluators]
        for evaluator, detections in zip(self.evaluators.values(), found_in_each(self.postprocess, maps), strict=True):
            evaluator.update(detections, batch.samples)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute, over all processes, and log."""
        for prefix, evaluator in self.evaluators.items():
            evaluator.gather()
            metrics = evaluator.compute()
            for name in SCORES:
                pl_module.log(f"val/{prefix}{name}", metrics[name] or 0.0, sync_dist=True)
