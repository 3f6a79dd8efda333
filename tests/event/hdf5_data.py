"""HDF5 files of events as the data sets have them, made for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from emsyolo.dataset.event.events import Events

BLOSC = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)


def write_h5(
    path: Path,
    events: Events,
    *,
    chunk: int = 512,
    sensor_hw: tuple[int, int] | None = None,
    signed: bool = False,
    types: str = "i8 u2 u2 u1",
    **extra: Any,
) -> Path:
    """Events in `events/{t,x,y,p}` of the given types, Blosc; `signed` has -1 for off; `extra` lies beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    p = events.p.astype(np.int64) * 2 - 1 if signed else events.p
    with h5py.File(path, "w") as file:
        for name, column, kind in zip("txyp", (events.t, events.x, events.y, p), types.split(), strict=True):
            file.create_dataset(f"events/{name}", data=column.astype(kind), maxshape=(None,), chunks=(chunk,), **BLOSC)
        if sensor_hw is not None:
            file["events/height"], file["events/width"] = sensor_hw
        for name, value in extra.items():
            file[name] = value
    return path


def write_dsec(path: Path, events: Events, offset_us: int, chunk: int = 512) -> Path:
    """As DSEC: uint32 times from `t_offset` on, and `ms_to_idx`."""
    t = events.t - offset_us
    milliseconds = np.searchsorted(t, 1000 * np.arange(int(t[-1]) // 1000 + 1)).astype(np.uint64)
    shifted = Events(t, events.x, events.y, events.p)
    return write_h5(
        path, shifted, chunk=chunk, types="u4 u2 u2 u1", t_offset=np.int64(offset_us), ms_to_idx=milliseconds
    )
