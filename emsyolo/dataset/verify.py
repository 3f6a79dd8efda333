"""Which image files of a data set are whole, found when the set is opened, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import simplejpeg
from PIL import Image

from emsyolo.bar import bar
from emsyolo.dataset.check import report_left_out
from emsyolo.dataset.pixels import MAX_PIXELS, check_sums, formats, missing_reader, orientation_of, pixels_of
from emsyolo.io import written_whole

log = logging.getLogger(__name__)

MODES = ("once", "always", "never")
PROGRESS_FROM = 2000  # images; fewer are checked before a bar would be read
TASK = 64  # images that a thread takes at a time
PADDING_BYTES = 4  # that some cameras leave before the end of an image
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
VERSION = 2  # of the check; a stricter one is a new version


@dataclass(frozen=True)
class Header:
    """What is known of an image file that is whole.

    Attributes:
        height: of the stored pixels.
        width: of the stored pixels.
        orientation: of EXIF, 1 to 8; 1 is upright.
    """

    height: int
    width: int
    orientation: int = 1

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the stored pixels."""
        return self.height, self.width


def examine(path: Path, *, decode: bool = True) -> Header:
    """The header of an image file, once the file is known to be whole.

    A JPEG is decoded at an eighth of its size, which reads all of its data, and its decoder's warnings are taken as
    damage; anything else is decoded.

    Args:
        path: of the file.
        decode: False trusts the header.

    Raises:
        ValueError: missing, damaged or no image; the message is only the reason.
    """
    opened = False
    try:
        with Image.open(path, formats=formats()) as image:
            opened = True
            header = Header(image.height, image.width, orientation_of(image))
            if decode and not (image.format == "JPEG" and _whole_jpeg(path)):
                check_sums(image, path)
                pixels_of(image)
            return header
    except FileNotFoundError as error:
        raise ValueError("missing") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"declares more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # a decoder that meets damaged data may raise anything
        unread = missing_reader(path) or "not a readable image"
        raise ValueError("cut off or damaged" if opened else unread) from error


def _whole_jpeg(path: Path) -> bool:
    """Whether all of a JPEG's data were decoded; False if it is one that this decoder does not know.

    Raises:
        ValueError: damaged data, of which Pillow says nothing and shows grey or displaced blocks.
    """
    try:
        simplejpeg.decode_jpeg(path.read_bytes(), "GRAY", min_height=1, min_width=1, fastdct=True)
    except ValueError as error:
        said = str(error)
        padding = EXTRANEOUS.search(said)
        if padding is not None and int(padding[1]) <= PADDING_BYTES:
            return True
        if "orrupt JPEG data" in said or "remature end" in said:
            raise
        return False
    return True


def image_headers(paths: Sequence[Path], name: str, verify: str = "once") -> dict[Path, Header]:
    """The header of every image that can be read; the others are left out with one warning that names them.

    Args:
        paths: image files.
        name: what the message calls the data set.
        verify: `once` reads every file whole and remembers what it found, by path, size and time of change, in the
            user's cache; `always` does not look there; `never` reads only headers.

    Raises:
        ValueError: an unknown `verify`.
    """
    if verify not in MODES:
        raise ValueError(f"dataset.verify={verify}: expected one of {', '.join(MODES)}")
    memory = _Memory(paths) if verify != "never" else None
    known = memory.known(paths) if memory and verify == "once" else {}
    new = [path for path in paths if path not in known]
    results = known | _examined(new, name, decode=verify != "never")
    if memory and new:
        # What only lacks its reader may have it the next time.
        memory.keep({path: results[path] for path in new if missing_reader(path) is None})
    report_left_out({path: one for path in paths if isinstance(one := results[path], str)}, len(paths), name)
    return {path: one for path in paths if isinstance(one := results[path], Header)}


def _examined(paths: Sequence[Path], name: str, *, decode: bool) -> dict[Path, Header | str]:
    """Of every file its header, or why it cannot be used."""

    def look(some: Sequence[Path]) -> list[Header | str]:
        found: list[Header | str] = []
        for path in some:
            try:
                found.append(examine(path, decode=decode))
            except ValueError as error:
                found.append(str(error))
        return found

    tasks = [paths[i : i + TASK] for i in range(0, len(paths), TASK)]
    # Pillow's decoders let other threads run; what Python does between them does not.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = bar(
            pool.map(look, tasks),
            f"checking {name}",
            total=len(tasks),
            hidden=len(paths) <= PROGRESS_FROM,
        )
        return {
            path: one for task, some in zip(tasks, found, strict=True) for path, one in zip(task, some, strict=True)
        }


class _Memory:
    """What was found of the images below a folder: a JSON file in the user's cache.

    Args:
        paths: the images; the folder is the lowest that holds all of them.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._folder = os.path.commonpath([str(path.parent.absolute()) for path in paths] or ["/"])
        place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        self._file = Path(place) / "emsyolo" / f"images-v{VERSION}-{digest}.json"
        self._entries: dict[str, list] = {}
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            self._entries = stored["images"] if stored["folder"] == self._folder else {}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing remembered, or damaged: looked at again

    def known(self, paths: Iterable[Path]) -> dict[Path, Header | str]:
        """What is remembered of files that have not changed since."""
        found: dict[Path, Header | str] = {}
        for path in paths:
            entry = self._entries.get(str(path.absolute()))
            if isinstance(entry, list) and len(entry) == 3 and entry[:2] == _stamp(path):
                found[path] = entry[2] if isinstance(entry[2], str) else Header(*entry[2])
        return found

    def keep(self, found: dict[Path, Header | str]) -> None:
        """Remember what was found; a cache that cannot be written costs the time of the next check."""
        for path, value in found.items():
            stamp = _stamp(path)
            if stamp is not None:
                self._entries[str(path.absolute())] = [*stamp, value if isinstance(value, str) else astuple(value)]
        try:
            with written_whole(self._file) as temporary:
                content = json.dumps({"folder": self._folder, "images": self._entries})
                temporary.write_text(content, encoding="utf-8")
        except OSError as error:
            log.info("%s; images will be checked again next time", error)


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change of a file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
