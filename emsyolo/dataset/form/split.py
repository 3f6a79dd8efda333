"""Which images are trained on, and which are validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emsyolo.dataset.form.reading import Annotated
from emsyolo.dataset.form.tree import folded
from emsyolo.dataset.labelled import share_of


@dataclass(frozen=True)
class Division:
    """The images of both sets.

    Attributes:
        train: trained on.
        val: validated on.
        said: how it was done, for the user.
    """

    train: list[Annotated]
    val: list[Annotated]
    said: str


def divided(images: Sequence[Annotated], val_share: float, seed: int) -> Division:
    """The images by their splits; those that have none, by their names.

    Training and validation images as they are marked; where none is marked for validation, the test images. Where only
    some are marked for it, the others are trained on. Where none is marked, or only for training, a share of all is
    validated on.

    Args:
        images: all of them.
        val_share: of the images, where they are divided here; 1 leaves none to train on.
        seed: of that.

    Raises:
        ValueError: a share that is none, or fewer than two images to divide.
    """
    by_split = {split: [one for one in images if split in one.splits] for split in ("train", "val", "test")}
    unmarked = [one for one in images if not one.splits]
    held = next((split for split in ("val", "test") if by_split[split]), None)
    train = by_split["train"] or unmarked
    if held is None or not train:
        return _by_name(images, val_share, seed)
    val = by_split[held]
    said = f"{len(train)} images to train on and {len(val)} to validate on, as the folder has them"
    if held == "test":
        said += ": the test images, since there are none for validation"
    both = len({one.path for one in train} & {one.path for one in val})
    unused = len(images) - len(train) - len(val) + both
    said += f"; {both} are in both" if both else ""
    said += f"; {unused} of no split or of the test set are not used" if unused else ""
    return Division(train, val, said)


def _by_name(images: Sequence[Annotated], val_share: float, seed: int) -> Division:
    if not 0 < val_share <= 1:
        raise ValueError(f"dataset.val_share={val_share}: expected a share of the images, above 0, 1 at most")
    if val_share == 1:
        return Division([], list(images), f"all {len(images)} images to validate on (dataset.val_share=1)")
    if len(images) < 2:
        raise ValueError(f"{images[0].path}: the only image with annotations; expected two, one of them to validate on")
    # By its own name only: other images do not move it.
    places = {one.path: share_of(f"{seed} {folded(one.path.name)}") for one in images}
    ordered = sorted(images, key=lambda one: (places[one.path], one.path.parts))
    count = sum(1 for place in places.values() if place < val_share)
    count = min(max(count, 1), len(images) - 1)
    val, train = ordered[:count], ordered[count:]
    said = (
        f"no split, so {len(train)} images to train on and {len(val)} to validate on, by a hash of their names "
        f"(dataset.val_share={val_share:g}, dataset.split_seed={seed})"
    )
    return Division(train, val, said)
