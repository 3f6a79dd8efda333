"""The LightningModule: detector, loss and optimiser, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
from torch import Tensor

from emsyolo.device import Late
from emsyolo.distributed import gathered, rank, world_size
from emsyolo.loss.loss import Loss, check_pair
from emsyolo.model.along import read_along, warmed_up
from emsyolo.model.detector import Detector
from emsyolo.neuron.state import State
from emsyolo.optimizer.recipe import Recipe
from emsyolo.trainer.validate import CARRIED
from emsyolo.types import Batch, HeadMaps

STREAMS = "streams"  # in a checkpoint: what the network remembers, by process


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
        ValueError: a loss that does not understand the head's maps; in a training, one that is not finite: before the
            next step, a checkpoint or a validation.
    """

    def __init__(self, detector: Detector, loss: Loss, recipe: Recipe, teacher: Teacher | None = None) -> None:
        super().__init__()
        check_pair(loss, detector.head.layout)
        self.detector = detector
        self.loss = loss
        self.recipe = recipe
        self.teacher = teacher
        self._state: State | None = None  # of the streams of a training
        self._last: tuple[Late, str] | None = None  # the last loss, and where it was

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the loss's parts in this training."""
        return (*self.loss.parts, *(() if self.teacher is None else ("distillation",)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        self._check_last()
        taught = None if self.teacher is None else self.teacher(batch.frames)
        maps = self.maps(batch) if batch.reads is None else self._maps_along(batch)
        parts = self.loss(maps, batch.targets, taught)
        names = ", ".join(sample.name for sample in batch.samples[:4])
        self._last = Late(parts["loss"]), f"epoch {self.current_epoch}, batch {batch_idx} ({names}, ...)"
        # What is trained on is the batch's sum; shown is the sum of the parts beside it.
        shown = {**parts, "loss": torch.stack([parts[name] for name in self.parts]).sum()}
        self.log_dict({f"train/{name}": value for name, value in shown.items()}, batch_size=len(batch))
        # Published: gradients of accumulated batches and of several processes are summed; Lightning averages them.
        return parts["loss"] * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def _check_last(self) -> None:
        """Refuse to go on from a loss that was not finite; asked a step late, so that the host runs ahead."""
        last, self._last = self._last, None
        if last is None:
            return
        loss, where = last[0].value().item(), last[1]
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at {where}; lower optimizer.optimizer.lr or trainer.gradient_clip_val, lengthen "
                "optimizer.warmup_epochs, or, with trainer.precision=16-mixed, use bf16-mixed; resume=last goes on "
                "from the last good checkpoint"
            )

    def on_validation_start(self) -> None:
        """Measure no weights that a loss has spoilt."""
        self._check_last()

    def on_train_end(self) -> None:
        """Look at the last loss, too."""
        self._check_last()

    def _maps_along(self, batch: Batch) -> HeadMaps:
        """The head maps of a batch of clips, which go on from the last one."""
        maps, after = read_along(self.detector, batch, self._state)
        self._state = after.detach()
        return maps

    def maps(self, batch: Batch) -> HeadMaps:
        """The head maps of one training batch, a row for each sample; of clips, as if all streams began with them."""
        if batch.reads is not None:
            return read_along(self.detector, batch, None)[0]
        state = warmed_up(self.detector, batch)
        return self.detector(batch.frames) if state is None else self.detector.run(batch.frames, state)[0]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the network remembers of its streams, in every process; no weights that a loss has spoilt."""
        self._check_last()
        if self._state is not None:
            checkpoint[STREAMS] = [{"values": one.values, "start": one.start} for one in gathered(self._state)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        kept = checkpoint.get(STREAMS, [])
        if len(kept) == world_size():
            self._state = State(**kept[rank()]).to(self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, HeadMaps]:
        """The head maps of one batch, for the callbacks that measure: from nothing, and with the state carried over."""
        maps = self.detector(batch.frames)
        state = warmed_up(self.detector, batch)
        carried = maps if state is None else self.detector.run(batch.frames, state)[0]
        return {"head_maps": maps, f"{CARRIED}head_maps": carried}

    def configure_optimizers(self) -> Any:
        """The recipe, for this training's number of steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, steps // max(1, self.trainer.max_epochs or 1))
        optimizer, schedule = self.recipe.build(self.detector, steps=steps, steps_per_epoch=per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch with its frames on the device."""
        return batch.to(device)
