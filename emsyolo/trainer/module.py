"""The LightningModule: detector, loss and optimiser, and nothing else."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from emsyolo.loss.loss import Loss, check_pair
from emsyolo.model.detector import Detector
from emsyolo.optimizer.recipe import Recipe
from emsyolo.types import Batch, HeadMaps


class Teacher:
    """A trained detector that is asked and not trained: no part of the module's parameters, averages or checkpoints.

    Args:
        detector: with the maps of the one that learns from it.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector.eval().requires_grad_(requires_grad=False)

    def __deepcopy__(self, memo: object) -> Teacher:
        return self  # averaged weights are a copy of the module

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> HeadMaps:
        """Its maps of the frames `[T0, N, C, H, W]`."""
        return self._detector.to(frames.device)(frames)


class DetectionModule(lightning.LightningModule):
    """What Lightning trains.

    Args:
        detector: frames to head maps.
        loss: head maps and targets to named scalars.
        recipe: optimiser and schedule.
        teacher: whose maps are imitated; None: nobody's.

    Raises:
        ValueError: a loss that does not understand the head's maps; in a training step, one that is not finite.
    """

    def __init__(self, detector: Detector, loss: Loss, recipe: Recipe, teacher: Teacher | None = None) -> None:
        super().__init__()
        check_pair(loss, detector.head.layout)
        self.detector = detector
        self.loss = loss
        self.recipe = recipe
        self.teacher = teacher

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the loss's parts in this training."""
        return (*self.loss.parts, *(() if self.teacher is None else ("distillation",)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        taught = None if self.teacher is None else self.teacher(batch.frames)
        parts = self.loss(self.detector(batch.frames), batch.targets, taught)
        if not torch.isfinite(parts["loss"]):
            names = ", ".join(sample.name for sample in batch.samples[:4])
            raise ValueError(
                f"the loss is {parts['loss'].item()} at epoch {self.current_epoch}, batch {batch_idx} ({names}, ...); "
                "lower optimizer.optimizer.lr or trainer.gradient_clip_val, lengthen optimizer.warmup_epochs, or, with "
                "trainer.precision=16-mixed, use bf16-mixed; resume=last goes on from the last good checkpoint"
            )
        self.log_dict({f"train/{name}": value for name, value in parts.items()}, batch_size=len(batch))
        # Published: gradients of accumulated batches and of several processes are summed; Lightning averages them.
        return parts["loss"] * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, HeadMaps]:
        """The head maps of one batch, for the callbacks that measure."""
        return {"head_maps": self.detector(batch.frames)}

    def configure_optimizers(self) -> Any:
        """The recipe, for this training's number of steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, steps // max(1, self.trainer.max_epochs or 1))
        optimizer, schedule = self.recipe.build(self.detector, steps=steps, steps_per_epoch=per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch with its frames on the device; targets follow where the loss needs them."""
        return Batch(batch.frames.to(device, non_blocking=True), batch.samples)
