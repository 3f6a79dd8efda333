"""HDF5 files from anywhere: opened in every process, nothing read from other files, one line for whatever is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  # registers Blosc and other filters with h5py
import numpy as np
from numpy.typing import NDArray

MAX_CHUNK_BYTES = 1 << 28


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a ValueError of one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # the library and its filters raise anything on damaged data
        said = " ".join(str(error).split()).replace(f"{path}: ", "")
        raise ValueError(f"{path}: {said[:400] or type(error).__name__}") from error


class OpenFile:
    """An HDF5 file, opened when it is first read, and again in every process: a handle does not survive a fork.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: h5py.File | None = None
        self._process = -1
        self._datasets: dict[str, h5py.Dataset] = {}

    def __call__(self) -> h5py.File:
        """The open file."""
        if self._handle is None or self._process != os.getpid():
            # Without the library's own cache of chunks, which costs a copy: decoded blocks are kept here.
            self._handle = h5py.File(self.path, "r", rdcc_nbytes=0)
            self._process = os.getpid()
            self._datasets = {}
        return self._handle

    def part(self, name: str, begin: int, end: int) -> NDArray[Any]:
        """Rows of a data set that `dataset` has accepted."""
        file = self()
        if name not in self._datasets:  # to look it up takes as long as to decode a small block
            self._datasets[name] = file[name]
        return self._datasets[name][begin:end]

    def dataset(self, name: str) -> h5py.Dataset:
        """A data set whose data lie in the file.

        Raises:
            ValueError: there is none, it is a group, or its data lie in another file, or are not all there.
        """
        file = self()
        if name not in file:
            raise ValueError(f"no {name}; has {', '.join(file) or 'nothing'}")
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name} is a {type(found).__name__.lower()}; expected a data set")
        if found.external or found.is_virtual or found.file.filename != file.filename:
            raise ValueError(f"the data of {name} lie in another file; expected them in this one")
        if found.dtype.hasobject or found.dtype.itemsize == 0:
            raise ValueError(f"{name} is {found.dtype}; expected numbers")
        if found.chunks is None:
            if found.id.get_storage_size() < found.nbytes:
                raise ValueError(f"{name} is shorter than it says; the file is cut off or not finished")
            return found
        if np.prod(found.chunks, dtype=float) * found.dtype.itemsize > MAX_CHUNK_BYTES:
            raise ValueError(f"{name} has chunks of {found.chunks}, more than {MAX_CHUNK_BYTES >> 20} MiB each")
        wanted = np.prod(np.ceil(np.array(found.shape, float) / found.chunks))
        if found.id.get_num_chunks() < wanted:
            raise ValueError(
                f"{name} has {found.id.get_num_chunks()} of {wanted:.0f} chunks; the file is cut off or not finished"
            )
        return found
