"""Optimiser, weight decay, warm-up and schedule: how a network's weights are moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def cosine(progress: float, final: float) -> float:
    """Factor on the learning rate: from 1 at progress 0 to `final` at progress 1 along half a cosine."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float, final: float) -> float:
    """Factor on the learning rate: from 1 at progress 0 to `final` at progress 1 along a line."""
    return 1 - (1 - final) * progress


SCHEDULES: dict[str, Callable[[float, float], float]] = {"cosine": cosine, "linear": linear}


class WarmupSchedule(LRScheduler):
    """Warm-up, then a schedule, one step per optimiser step; state is kept for resuming.

    Over the warm-up the learning rate rises linearly from 0 to its place on the schedule; that of biases falls from
    `bias_lr`, and momentum rises from `momentum` to its own (YOLOv5).

    Args:
        optimizer: whose parameter groups have `bias` (bool) among their keys.
        steps: of the whole training.
        warmup: steps of the warm-up.
        factor: progress in [0, 1] to the factor on the learning rate.
        bias_lr: learning rate of biases at step 0; None: as the others.
        momentum: at step 0; None: not warmed up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        steps: int,
        warmup: int,
        factor: Callable[[float], float],
        bias_lr: float | None,
        momentum: float | None,
    ) -> None:
        self.steps, self.warmup, self.factor = max(steps, 1), warmup, factor
        self.bias_lr, self.momentum = bias_lr, momentum
        self.full_momentum = [group.get("momentum") for group in optimizer.param_groups]
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Only the step: all else comes from the config."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count, "_last_lr": self._last_lr}

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the groups at this step; sets momentum on the way."""
        share = min(1.0, self.last_epoch / self.warmup) if self.warmup else 1.0
        factor = self.factor(min(1.0, self.last_epoch / self.steps))
        rates: list[float | Tensor] = []
        for group, base, momentum in zip(self.optimizer.param_groups, self.base_lrs, self.full_momentum, strict=True):
            start = self.bias_lr if group["bias"] and self.bias_lr is not None else 0.0
            rates.append(start + (base * factor - start) * share)
            if self.momentum is not None and momentum is not None:
                group["momentum"] = self.momentum + (momentum - self.momentum) * share
        return rates


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Convolution weights (decayed), normalisation weights and biases (neither is), as YOLOv5 groups them."""
    convolutions: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name == "bias":
                biases.append(parameter)
            else:
                (convolutions if parameter.ndim > 1 else norms).append(parameter)
    groups = [
        {"params": convolutions, "weight_decay": weight_decay, "bias": False},
        {"params": norms, "weight_decay": 0.0, "bias": False},
        {"params": biases, "weight_decay": 0.0, "bias": True},
    ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Recipe:
    """An optimiser with its weight decay, warm-up and schedule.

    Attributes:
        optimizer: parameter groups to an optimiser (a partial of `torch.optim.SGD` or `AdamW` with its `lr`).
        weight_decay: of convolution weights only.
        schedule: `cosine` or `linear`.
        final_lr: learning rate at the end, as a share of that at the start.
        warmup_epochs: length of the warm-up.
        warmup_min_steps: but at least this number of steps (and at most half the training).
        warmup_bias_lr: learning rate of biases at step 0; None: 0, as all others.
        warmup_momentum: momentum at step 0; None: not warmed up.
    """

    optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer]
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    final_lr: float = 0.1
    warmup_epochs: float = 3.0
    warmup_min_steps: int = 0
    warmup_bias_lr: float | None = None
    warmup_momentum: float | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule is {self.schedule!r}; expected one of {sorted(SCHEDULES)}")

    def build(self, network: nn.Module, *, steps: int, steps_per_epoch: int) -> tuple[Optimizer, WarmupSchedule]:
        """The optimiser of a network's parameters and its schedule, to be stepped after every optimiser step."""
        optimizer = self.optimizer(parameter_groups(network, self.weight_decay))
        # A fused optimiser offers to undo the loss scale of float16 itself; then Lightning cannot clip gradients.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        warmup = max(round(self.warmup_epochs * steps_per_epoch), self.warmup_min_steps)
        curve = SCHEDULES[self.schedule]
        return optimizer, WarmupSchedule(
            optimizer,
            steps=steps,
            warmup=min(warmup, steps // 2),
            factor=lambda progress: curve(progress, self.final_lr),
            bias_lr=self.warmup_bias_lr,
            momentum=self.warmup_momentum,
        )
