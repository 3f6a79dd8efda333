"""What a training asks of a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from emsyolo.types import HeadMaps, Layout, Targets


class Loss(Protocol):
    """Head maps and true boxes to one number to be minimised, and the parts that it is made of.

    Attributes:
        parts: names of the parts; a teacher's adds `distillation`.
        reads: the class of layouts whose maps it understands.
    """

    @property
    def parts(self) -> tuple[str, ...]:
        """See the class."""

    @property
    def reads(self) -> type[Any]:
        """See the class."""

    def __call__(
        self, head_maps: HeadMaps, targets: Sequence[Targets], taught: HeadMaps | None = None
    ) -> dict[str, Tensor]:
        """`loss` (scalar) and its parts (scalars, detached); `taught` are a teacher's maps of the same frames."""


def check_pair(loss: Loss, layout: Layout) -> None:
    """Refuse a loss that does not understand a head's maps.

    Raises:
        ValueError: names both.
    """
    if not isinstance(layout, loss.reads):
        raise ValueError(
            f"loss {type(loss).__name__} reads maps of {loss.reads.__name__}, the model's head gives "
            f"{type(layout).__name__}; expected a pair that fits: loss= is for the models of its kind"
        )
