"""Averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging

from emsyolo.layer.statistics import measure_statistics
from emsyolo.types import Batch


class Averaging(WeightAveraging):
    """Validates and stores averaged weights, with running statistics that are measured on them.

    Averages of the running statistics would be those of older weights: they trail behind the network by the batches of
    their momentum, in which weights move far while the learning rate is high. So they are measured before each
    validation on some training batches (as by `torch.optim.swa_utils.update_bn`), always the same. Weights that are
    trained keep statistics of their own.

    Args:
        decay, steps: of the average; see `ema_average`.
        batches: gives the batches, when they are first needed; none: running statistics are averaged, too.
    """

    def __init__(self, decay: float, steps: float, batches: Callable[[], Sequence[Batch]] = tuple) -> None:
        super().__init__(multi_avg_fn=ema_average(decay, steps))
        self._open = batches
        self._batches: Sequence[Batch] | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Put the averaged weights in the place of the current ones, and measure their statistics."""
        super().on_validation_epoch_start(trainer, pl_module)
        if self._batches is None:
            self._batches = self._open()
        with trainer.precision_plugin.val_step_context():
            measure_statistics(
                pl_module.detector, self._batches, lambda batch: pl_module.maps(batch.to(pl_module.device))
            )


def ema_average(decay: float, steps: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], Any], None]:
    """The exponential moving average of YOLOv5: its decay rises as decay * (1 - exp(-n / steps)).

    Args:
        decay: in the long run, in [0, 1).
        steps: of the rise; early weights are forgotten fast.
    """

    counts: dict[torch.dtype, float] = {}  # of updates

    def number(count: Any, dtype: torch.dtype) -> float:
        """The count, read once from a device that would have to be waited for, and then counted here."""
        if not isinstance(count, torch.Tensor) or count.device.type == "cpu" or dtype not in counts:
            counts[dtype] = float(count)
        else:
            counts[dtype] += 1
        return counts[dtype]

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        dtype = averaged[0].dtype  # torch calls once for each
        share = 1 - decay * (1 - torch.exp(torch.as_tensor(-number(count, dtype) / steps))).item()
        moved = [value.to(mean.device) for mean, value in zip(averaged, current, strict=True)]
        if dtype.is_floating_point:
            torch._foreach_lerp_(averaged, moved, share)
        else:
            torch._foreach_copy_(averaged, moved)

    return update
