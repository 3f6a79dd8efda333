"""Files that are either written completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0)  # which can only be read by setting it
os.umask(_UMASK)
READABLE = 0o666 & ~_UMASK  # as any new file; some writers make theirs private


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error.

    Raises:
        OSError: the block's own (a full disk, say), with `path` named; what was at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.chmod(READABLE)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch.save tells of a full disk by a RuntimeError.
        free = shutil.disk_usage(path.parent).free >> 20
        raise OSError(
            f"{path} could not be written ({error}; {free} MiB are free there); what was there before is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that were killed left beside it; no other may be writing it now."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        if leftover.suffix[1:].isdigit():
            leftover.unlink(missing_ok=True)
