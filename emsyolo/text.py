"""The one way from a file that a user brings to text, and of many names in a message."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from pathlib import Path

NAMES_SHOWN = 10
# A file says by its first bytes that it is not plain UTF-8; UTF-32 comes first, whose mark begins with UTF-16's.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path, encoding: str | None = None) -> str:
    """The text of a file: by its byte order mark, else UTF-8.

    Args:
        path: of the file.
        encoding: a codec's name, for files without a mark that are not UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: not text in that encoding, or an unknown encoding; names the file and the byte.
    """
    return decoded(path.read_bytes(), path, encoding)


def decoded(data: bytes, path: Path, encoding: str | None = None) -> str:
    """The text in the bytes of a file; see `read_text`."""
    codec = next((name for mark, name in MARKS.items() if data.startswith(mark)), encoding or "utf-8")
    try:
        text = data.decode(codec)
    except LookupError as error:
        raise ValueError(
            f"dataset.encoding={codec}: unknown; expected a codec of Python, such as cp1252 or gbk"
        ) from error
    except UnicodeError as error:
        raise ValueError(
            f"{path}: not {codec} text at byte {getattr(error, 'start', 0)}; save it as UTF-8, or type "
            "dataset.encoding=cp1252 (or what it is in)"
        ) from error
    if "\0" in text:
        byte = len(text[: text.index("\0")].encode(codec, "replace"))
        raise ValueError(f"{path}: a NUL at byte {byte}, which no text has; expected UTF-8, or UTF-16 with its mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shortlist(names: Iterable[str]) -> str:
    """The first ten names, then how many more there are."""
    listed = list(names)
    more = f", and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
    return ", ".join(listed[:NAMES_SHOWN]) + more
