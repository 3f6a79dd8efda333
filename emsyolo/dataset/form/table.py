"""CSV files of boxes: a row for each box, with a header (TensorFlow's tutorials) or without (RetinaNet's)."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsyolo.dataset.form.reading import Annotated, Object, Reading, Settings
from emsyolo.dataset.form.tree import Tree
from emsyolo.dataset.pixels import SUFFIXES
from emsyolo.dataset.values import class_name, number
from emsyolo.text import read_text

DELIMITERS = (",", ";", "\t")
# By column, what headers call it, in small letters without anything but letters and digits; the first counts.
HEADERS = {
    "file": ("filename", "filepath", "file", "imagepath", "imagename", "imagefile", "imagefilename", "image", "imageid",
             "img", "imgpath", "imgname", "path", "frame"),
    "name": ("class", "classname", "label", "labelname", "category", "categoryname", "classid", "labelid", "name"),
    "x0": ("xmin", "x0", "x1", "left", "bboxxmin", "minx"),
    "y0": ("ymin", "y0", "y1", "top", "bboxymin", "miny"),
    "x1": ("xmax", "x2", "x1", "right", "bboxxmax", "maxx"),
    "y1": ("ymax", "y2", "y1", "bottom", "bboxymax", "maxy"),
    "height": ("height", "imageheight", "imgheight", "h"),
    "width": ("width", "imagewidth", "imgwidth", "w"),
}  # fmt: skip
NEEDED = ("file", "name", "x0", "y0", "x1", "y1")
WITHOUT_HEADER = {"file": 0, "x0": 1, "y0": 2, "x1": 3, "y1": 4, "name": 5}


@dataclass(frozen=True)
class Table:
    """The rows of a file of boxes.

    Attributes:
        rows: number of the line, and the fields.
        columns: where what stands.
    """

    rows: list[tuple[int, list[str]]]
    columns: dict[str, int]

    def field(self, row: Sequence[str], column: str) -> str:
        """What a row has in a column; empty if nothing."""
        place = self.columns.get(column, len(row))
        return row[place].strip() if place < len(row) else ""


def read(tree: Tree, settings: Settings) -> Reading:
    """What the CSV files of boxes say, in px from 0; a row with empty fields for the box is background.

    With a header, columns may have any order; without, they are path, x1, y1, x2, y2 and class. A file of names and
    numbers, `name,0`, gives the order of the classes. The split is that in a file's name, else of its folder, else of
    the image's.

    Raises:
        ValueError: text that cannot be read, or several images that fit a name as well.
    """
    reading = Reading("csv", settings)
    names: dict[str, int] = {}
    for file in tree.ending(".csv", ".tsv"):
        rows = _rows(file, settings.encoding)
        table = _table(rows)
        if table is not None:
            _enter(table, file, tree, reading)
        else:
            names |= _numbered(rows)
    used = {one.name for image in reading.images.values() for one in image.objects}
    if used and used <= set(names):
        reading.class_names = sorted(names, key=lambda name: names[name])
    return reading


def _rows(file: Path, encoding: str | None) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with the numbers of their lines, and decimal points in place of commas."""
    lines = read_text(file, encoding).split("\n")
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error:  # such as a field of more than 131,072 characters
        return []
    if delimiter == ",":
        return rows
    return [(line, [re.sub(r"^(\s*-?\d+),(\d+\s*)$", r"\1.\2", field) for field in row]) for line, row in rows]


def _table(rows: list[tuple[int, list[str]]]) -> Table | None:
    """The table of boxes in the rows of a file; None if it is none."""
    if not rows:
        return None
    words = [re.sub(r"[^a-z0-9]", "", field.lower()) for field in rows[0][1]]
    columns = {
        column: words.index(next(name for name in called if name in words))
        for column, called in HEADERS.items()
        if any(name in words for name in called)
    }
    if all(column in columns for column in NEEDED):
        return Table(rows[1:], columns)
    if all(map(_is_box, (row for _, row in rows[:20]))):
        return Table(rows, WITHOUT_HEADER)
    return None


def _is_box(row: Sequence[str]) -> bool:
    """Whether a row is an image, four numbers or nothing, and a class or nothing."""
    if len(row) < 6 or not row[0].strip().lower().endswith(SUFFIXES):
        return False
    return all(re.fullmatch(r"-?\d*\.?\d*(e[+-]?\d+)?", field.strip(), re.I) for field in row[1:5])


def _numbered(rows: list[tuple[int, list[str]]]) -> dict[str, int]:
    """The names of a class map, `name,number` in each row, perhaps below a header; none if it is none."""
    fields = [row for _, row in rows]
    if fields and fields[0][-1].strip().lower() == "id":
        fields = fields[1:]
    if not all(len(row) == 2 and row[1].strip().isdecimal() for row in fields):
        return {}
    return {" ".join(row[0].split()): int(row[1]) for row in fields}


def _enter(table: Table, file: Path, tree: Tree, reading: Reading) -> None:
    for name, rows in _by_image(table).items():
        image = tree.find(name, file)
        if image is None:
            reading.lacks(file, name)
            continue
        objects: list[Object] = []
        for line, row in rows:
            try:
                objects += _objects(table, row)
            except ValueError as error:
                reading.ledger.leave_out(f"{file}, line {line}", str(error))
        sides = [table.field(rows[0][1], side) for side in ("height", "width")]
        height, width = (int(float(side)) if re.fullmatch(r"\d{1,9}(\.0*)?", side) else 0 for side in sides)
        size_hw = (height, width) if min(height, width) > 0 else None
        reading.add(Annotated(image, file, tuple(objects), size_hw, tree.splits(file, image, word=file.stem)))


def _by_image(table: Table) -> dict[str, list[tuple[int, list[str]]]]:
    """The rows of each image."""
    groups: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for line, row in table.rows:
        groups[table.field(row, "file")].append((line, row))
    return groups


def _objects(table: Table, row: Sequence[str]) -> Iterator[Object]:
    """The object of a row; none if its box is empty."""
    ends = [table.field(row, end) for end in ("x0", "y0", "x1", "y1")]
    if not any(ends):
        return
    name = class_name(table.field(row, "name"), "class")
    x0, y0, x1, y1 = (number(end, f"a corner of {name!r}") for end in ends)
    yield Object(name, (x0, y0, x1, y1))
