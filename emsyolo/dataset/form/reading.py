"""What a folder's annotations say, whatever form they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from emsyolo.dataset.check import Ledger

SEVERAL = "images have several files of annotations; their boxes are put together"


@dataclass(frozen=True)
class Object:
    """One annotated object.

    Attributes:
        name: of its class.
        box_xyxy: px of the annotated image from 0, the right and lower end excluded; or shares of the image.
        difficult: VOC's mark for what need not be found.
        crowd: COCO's mark for many objects that are not told apart.
        area: px^2, where the file states one that is not the box's.
    """

    name: str
    box_xyxy: tuple[float, float, float, float]
    difficult: bool = False
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Annotated:
    """An image with its objects.

    Attributes:
        path: of the image.
        source: the file of annotations; of an image without one, the image.
        objects: those that can be used.
        size_hw: of the image as stated, px; None if not, or 0.
        splits: those to which the image belongs, as folders and files say: `train`, `val`, `test`.
        in_shares: boxes are shares of the image, not px.
    """

    path: Path
    source: Path
    objects: tuple[Object, ...]
    size_hw: tuple[int, int] | None = None
    splits: frozenset[str] = frozenset()
    in_shares: bool = False

    def joined(self, other: Annotated) -> Annotated:
        """The image with the objects of another of the same file, those that both have once."""
        new = [one for one in other.objects if one not in self.objects]
        return replace(
            self,
            objects=(*self.objects, *new),
            size_hw=self.size_hw or other.size_hw,
            splits=self.splits | other.splits,
        )

    def placed(self, splits: Iterable[str]) -> Annotated:
        """The same image in other splits."""
        return replace(self, splits=frozenset(splits))


@dataclass(frozen=True)
class Settings:
    """How annotations are read.

    Attributes:
        name: of the data set, in messages.
        max_bad: share of the annotations, and of the images, that may be left out.
        class_names: what the user typed; None: those of the files.
        encoding: of text that is not UTF-8 and has no byte order mark.
        form: the only one that is looked for; None: all.
        max_background: share of the images that may lack a file of annotations, where that means background.
        val_share: of the images, that are validated on where the folder has no split.
        split_seed: of that.
    """

    name: str
    max_bad: float = 0.05
    class_names: tuple[str, ...] | None = None
    encoding: str | None = None
    form: str | None = None
    max_background: float = 0.5
    val_share: float = 0.2
    split_seed: int = 0


class Reading:
    """What was read in one form; filled by its reader.

    Args:
        form: its name, as in `dataset.format`.
        settings: how it is read.

    Attributes:
        ledger: takes annotations that are left out.
        of_images: takes images that are left out.
        files: the files of annotations, in the order in which they were read.
        class_names: in the order of the files; empty: not stated, so that those which occur are sorted.
        nameless: classes have only numbers.
        declared: the files state the split themselves, so that no other list of it is looked for.
        background: images that have no file of annotations, and are background by the form's rules.
        looked_in: folders where those files would be.
        remarks: what must be said of how it was read.
    """

    def __init__(self, form: str, settings: Settings) -> None:
        self.form = form
        self.ledger = Ledger(settings.name, settings.max_bad)
        self.of_images = Ledger(settings.name, settings.max_bad, of="images")
        self.files: dict[Path, None] = {}
        self.class_names: list[str] = []
        self.nameless = False
        self.declared = False
        self.background: list[Path] = []
        self.looked_in: dict[Path, None] = {}
        self.remarks: list[str] = []
        self._images: dict[Path, Annotated] = {}

    def add(self, image: Annotated) -> None:
        """Enter an image, or more objects of one."""
        if image.source != image.path:
            self.files.setdefault(image.source)
        before = self._images.get(image.path)
        if before is None:
            self._images[image.path] = image
            return
        both = before.joined(image)
        if len(both.objects) > max(len(before.objects), len(image.objects)):  # neither has all
            self.of_images.note(SEVERAL, image.path)
        self._images[image.path] = both

    def lacks(self, source: Path, name: str) -> None:
        """An image that a file of annotations names and that is not there."""
        self.of_images.leave_out(str(source), f"no image {name!r} in the folder")

    @property
    def images(self) -> Mapping[Path, Annotated]:
        """By path."""
        return self._images

    @property
    def objects(self) -> int:
        """How many objects can be used."""
        return sum(len(one.objects) for one in self._images.values())

    @cached_property
    def matched(self) -> int:
        """Images with an object: by them the best of several forms is found."""
        return sum(1 for one in self._images.values() if one.objects)

    def seen(self) -> bool:
        """Whether there was anything of this form."""
        return bool(self._images or self.of_images.left_out)

    def close(self) -> None:
        """Say what was odd.

        Raises:
            ValueError: too many annotations or images cannot be used.
        """
        self.of_images.close(len(self._images) + self.of_images.left_out)
        self.ledger.close(self.objects + self.ledger.left_out)


def in_order(names: Iterable[str]) -> list[str]:
    """Names, each once, by the alphabet; if all are whole numbers, by size."""
    found = set(names)
    return sorted(found, key=int) if all(map(str.isdecimal, found)) else sorted(found)
