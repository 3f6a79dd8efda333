"""Sums over what goes through one module of a network, as far as they can be told apart by step."""

from __future__ import annotations

import torch
from torch import Tensor

from emsyolo.evaluator.alphabet import NUMBERS, Declared
from emsyolo.neuron.neuron import Spikes


class Count:
    """Running sums over one module's calls, kept on its device so that counting never waits for it."""

    def __init__(self) -> None:
        self.elements = 0
        self.nonzero: Tensor | int = 0  # by step, or one sum of all
        self.spikes: Tensor | int = 0  # likewise; a 3 is three
        self.outside: Tensor | int = 0  # of the alphabet that was declared, or, where none was, of 0 and 1
        self.beyond: Tensor | int = 0  # where nothing was declared: of -1, 0 and 1
        self.macs = 0
        self.samples = 0
        self.declared: Declared | None = None

    def add(self, x: Tensor, declared: Declared | None, steps: int, images: int) -> None:
        """Count the values of a call: of each step apart, where it had all of them, `steps` times `images` rows.

        Of unrolled spikes the planes stand one after the other, each with all steps.
        """
        rows = x.flatten(0, 1) if x.ndim > 4 else x
        whole = images > 0 and len(rows) % (steps * images) == 0
        parts = rows.unflatten(0, (-1, steps, images)).unbind(1) if whole else (rows,)
        counted = torch.stack([torch.count_nonzero(part) for part in parts])
        nonzero = counted.sum()
        self.elements += x.numel()
        self.nonzero = _added(self.nonzero, counted)
        self.declared = declared = NUMBERS if self.declared is NUMBERS else declared
        if declared is NUMBERS:
            return
        spikes = Spikes() if declared is None or declared.spikes is None else declared.spikes
        if spikes == Spikes():
            self.spikes = _added(self.spikes, counted)
            self.outside = self.outside + (nonzero - torch.count_nonzero(x == 1))
        else:
            size = x.abs()
            inside = (size <= spikes.levels) & (x == x.round())
            sums = [part.abs().sum(dtype=torch.float64) for part in parts]
            self.spikes = _added(self.spikes, torch.stack(sums))
            self.outside = self.outside + torch.count_nonzero(~(inside if spikes.signed else inside & (x >= 0)))
        if declared is None:
            self.beyond = self.beyond + (nonzero - torch.count_nonzero(x.abs() == 1))

    def share(self, steps: int | None) -> float:
        """How much of its work it has done after so many steps: all of it, where it is not done step by step."""
        counted = self.nonzero.numel() if isinstance(self.nonzero, Tensor) else 1
        return 1.0 if steps is None or counted == 1 else steps / counted

    def alphabet(self, name: str) -> Spikes | None:
        """What the values were, declared or, where nothing was, as seen.

        Raises:
            ValueError: values outside the alphabet that was declared.
        """
        if self.declared is None:
            return None if int(self.beyond) else Spikes(signed=bool(int(self.outside)))
        spikes = self.declared.spikes
        if spikes is not None and int(self.outside):
            least = -spikes.levels if spikes.signed else 0
            raise ValueError(
                f"{name}: spikes are declared as whole numbers from {least} to {spikes.levels}, but "
                f"{int(self.outside)} of {self.elements} values are not; the neuron's `spikes` must say what it sends"
            )
        return spikes


def _added(sums: Tensor | int, counted: Tensor) -> Tensor:
    """Sums by step with those of another call; sums of all where the two have not the same steps."""
    if isinstance(sums, Tensor) and len(sums) != len(counted):
        sums, counted = sums.sum().view(1), counted.sum().view(1)
    return sums + counted


def until_step(sums: Tensor | int, steps: int | None) -> int:
    """The sum over the first steps; over all where it is not known by step."""
    if not isinstance(sums, Tensor):
        return sums
    return int((sums if steps is None or len(sums) == 1 else sums[:steps]).sum())
