"""Windows of an HDF5 recording as frames: ours against a plain loop of h5py and NumPy.

A random recording is written as RVT's copy of 1 Mpx, eTraM and DSEC have it (Blosc zstd of level 1 with byte shuffle,
chunks of 65,536 events unless told otherwise). Both sides frame the same windows, which end at labels in a random
order, as training does, or in the order of time, as validation does; frames are compared. The plain loops:

- `times in memory`: all of `events/t` is read once, before the clock starts, and kept; per window np.searchsorted on
  it, slices of x, y and p from the file, coordinates scaled to half, np.add.at into uint16 frames, which are cut at ten
  and become bytes. This favours the loop: a recording of 60 s of 1 Mpx has gigabytes of times.
- `bincount`: the same with np.bincount over one flat index in place of np.add.at, the fastest that NumPy has.
- `times from the file`: as the first, with `events/t` read anew for every window, as np.searchsorted on a data set of
  h5py does; timed on three windows.

Ours: `open_recording(...).window` and the framing of the data sets, `Counts(micro_bins=10)`; its index of times is in
the cache (how long it takes to make is printed), or the file has `ms_to_idx`; its decoded blocks are forgotten before
every pass. A pass frames all windows; passes alternate, and ratios are those of the medians.

    python benchmark/hdf5_windows.py [--events 40000000] [--windows 100] [--window-ms 50] [--chunk 65536] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from emsyolo.dataset.event import hdf5
from emsyolo.dataset.event.framing import Framing
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.event.representation import Counts

SENSOR_HW, FRAME_HW = (720, 1280), (360, 640)
BINS, CUTOFF = 10, 10
Frames = NDArray[np.uint8]


def write(path: Path, events: int, seconds: float, chunk: int, *, milliseconds: bool) -> None:
    """A random recording: most events near a few edges, as moving things make them."""
    rng = np.random.default_rng(0)
    span = int(seconds * 1e6)
    t = np.sort(rng.integers(0, span, events))
    x = (rng.normal(0, 25, events) + rng.choice(rng.uniform(0, SENSOR_HW[1], 40), events)) % SENSOR_HW[1]
    y = (rng.normal(0, 25, events) + rng.choice(rng.uniform(0, SENSOR_HW[0], 40), events)) % SENSOR_HW[0]
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
    columns = {
        "t": t, "x": x.astype(np.uint16), "y": y.astype(np.uint16), "p": rng.integers(0, 2, events).astype(np.int16)
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file.create_dataset(f"events/{name}", data=column, chunks=(chunk,), **blosc)
        file["events/height"], file["events/width"] = SENSOR_HW
        if milliseconds:
            file["ms_to_idx"] = np.searchsorted(t, np.arange(0, span + 1000, 1000))


def plain(path: Path, ends: NDArray[np.int64], window_us: int, times: NDArray[np.int64] | None, how: str) -> Frames:
    """The loop of h5py and NumPy; gives the frames of the last window."""
    shape = (BINS, 2, *FRAME_HW)
    frames = np.empty(0, np.uint8)
    with h5py.File(path) as file:
        events = file["events"]
        for end in ends.tolist():
            t = events["t"][:] if times is None else times
            i, j = np.searchsorted(t, (end - window_us, end))
            x, y, p = (events[name][i:j] for name in "xyp")
            step, on = (t[i:j] - (end - window_us)) * BINS // window_us, (p > 0).astype(np.int64)
            x, y = x // 2, y // 2
            if how == "bincount":
                flat = ((step * 2 + on) * FRAME_HW[0] + y) * FRAME_HW[1] + x
                counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
            else:
                counts = np.zeros(shape, dtype=np.uint16)
                np.add.at(counts, (step, on, y, x), 1)
            frames = (np.minimum(counts, CUTOFF) * (255 // CUTOFF)).astype(np.uint8)
    return frames


def ours(path: Path, ends: NDArray[np.int64], window_us: int) -> Frames:
    """The reader and the framing of the data sets; gives the frames of the last window."""
    hdf5._DECODED.clear()
    recording = open_recording(path)
    framing = Framing(Counts(BINS, CUTOFF), 1, window_us, FRAME_HW)
    frames = np.empty(0, np.uint8)
    for end in ends.tolist():
        window = (end - window_us, end)
        frames = framing.frames(recording.window(*window), *window, SENSOR_HW)[0].numpy()
    return frames.reshape(BINS, 2, *FRAME_HW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--window-ms", type=int, default=50)
    parser.add_argument("--chunk", type=int, default=1 << 16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    window_us = 1000 * args.window_ms
    labels = np.linspace(window_us, args.seconds * 1e6, args.windows).astype(np.int64)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path, listed = Path(folder) / "random_td.h5", Path(folder) / "random_dsec.h5"
        write(path, args.events, args.seconds, args.chunk, milliseconds=False)
        write(listed, args.events, args.seconds, args.chunk, milliseconds=True)
        size_mb = path.stat().st_size / 1e6
        with h5py.File(path) as file:
            times = file["events/t"][:]
        start = time.perf_counter()
        open_recording(path).window(0, 1)
        index_s = time.perf_counter() - start
        for order in ("random", "ascending"):
            ends = np.random.default_rng(1).permutation(labels) if order == "random" else labels
            tasks: dict[str, Callable[[], Frames]] = {
                "ours": partial(ours, path, ends, window_us),
                "ours, ms_to_idx": partial(ours, listed, ends, window_us),
                "plain, times in memory": partial(plain, path, ends, window_us, times, "add.at"),
                "plain, times in memory, bincount": partial(plain, path, ends, window_us, times, "bincount"),
            }
            found = timed(tasks, args.runs, order)
            slow = {"plain, times from the file": partial(plain, path, ends[:3], window_us, None, "add.at")}
            found |= {name: one * args.windows / 3 for name, one in timed(slow, 3, order).items()}
            base = found["ours"]
            result[order] = {
                name: {"ms_per_window": round(1000 * one / args.windows, 2), "ours_is_faster": round(one / base, 2)}
                for name, one in found.items()
            }
    about = {
        "machine": f"{platform.processor() or platform.machine()}, 1 process",
        "versions": {p: version(p) for p in ("numpy", "numba", "h5py", "hdf5plugin", "emsyolo")},
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {k: v for k, v in vars(args).items() if k != "out"},
        "file_mb": round(size_mb),
        "events_per_window": round(args.events * args.window_ms / 1000 / args.seconds),
        "index_of_times_s": round(index_s, 2),
    }
    print(json.dumps(about | result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(about | result, indent=1) + "\n")


def timed(tasks: dict[str, Callable[[], Frames]], runs: int, order: str) -> dict[str, float]:
    """Medians in seconds of so many alternating runs, after one of each that is compared."""
    frames = [run() for run in tasks.values()]
    assert all((one == frames[0]).all() for one in frames)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in track(range(runs), description=order, transient=True):
        for name, run in tasks.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(some) for name, some in times.items()}


if __name__ == "__main__":
    main()
