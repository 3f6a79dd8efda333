"""Windows of a recording as frames: ours against tonic's.

A random DAT recording is written to a temporary file; both sides cut the same windows out of it and make frames of two
polarities. tonic's side: expelliarmus (tonic's reader) reads the windows one after the other, ToFrame frames them; the
reader has no random access, so that both take the windows in the order of time. Runs alternate; the ratio is that of
the medians. Then the loader of `dataset=digits_dvs` against the training step of the default network: the share of the
time for which the step waits for its batch.

    python benchmark/events.py [--events 20000000] [--windows 40] [--steps 5] [--window-ms 250] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tonic.transforms
import torch
from expelliarmus import Wizard
from hydra.utils import instantiate
from rich.progress import track

from emsyolo.app.build import data_of, detector_of, fit_to_data
from emsyolo.app.config import compose_config
from emsyolo.dataset.event.dat import write_dat
from emsyolo.dataset.event.events import Events
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.event.representation import counts

SENSOR_HW = (240, 304)


def recording(path: Path, events: int, seconds: float) -> None:
    """A random recording on Gen1's sensor."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, int(seconds * 1e6), events))
    x, y = (rng.integers(0, side, events).astype(np.uint16) for side in SENSOR_HW[::-1])
    write_dat(path, Events(t, x, y, rng.integers(0, 2, events).astype(np.uint8)), SENSOR_HW)


def training(batches: int) -> tuple[float, float]:
    """Median seconds for a batch of the default event data, loaded in the training process, and for a training step."""
    cfg = compose_config("train", ["dataset=digits_dvs", "dataset.limit=64"])
    data = data_of(cfg)
    fit_to_data(cfg, data)
    detector, loss = detector_of(cfg), instantiate(cfg.loss)
    times: list[tuple[float, float]] = []
    loader = iter(data.train_loader())
    for _ in track(range(batches), description="training", transient=True):
        start = time.perf_counter()
        batch = next(loader, None)
        if batch is None:
            loader = iter(data.train_loader())
            continue
        middle = time.perf_counter()
        detector.zero_grad(set_to_none=True)
        loss(detector(batch.frames), batch.targets)["loss"].backward()
        times.append((middle - start, time.perf_counter() - middle))
    loaded, stepped = (statistics.median(column) for column in zip(*times[2:], strict=True))
    return loaded, stepped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--window-ms", type=int, default=250)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    seconds = args.windows * args.window_ms / 1000
    window_us = args.window_ms * 1000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random_td.dat"
        recording(path, args.events, seconds)
        ours = open_recording(path)
        theirs = Wizard(encoding="dat", fpath=str(path), time_window=window_us)
        windows = theirs.read_time_window()
        framed = tonic.transforms.ToFrame(sensor_size=(SENSOR_HW[1], SENSOR_HW[0], 2), n_time_bins=args.steps)
        times: list[tuple[float, float]] = []
        late: list[float] = []
        counts(ours.window(0, window_us), 0, window_us, args.steps, SENSOR_HW)  # compiles
        for i in track(range(args.windows - 1), description="windows", transient=True):
            start = time.perf_counter()
            mine = counts(
                ours.window(i * window_us, (i + 1) * window_us),
                i * window_us,
                (i + 1) * window_us,
                args.steps,
                SENSOR_HW,
            )
            middle = time.perf_counter()
            other = framed(next(windows))
            times.append((middle - start, time.perf_counter() - middle))
            assert mine.shape == other.shape
        for _ in range(args.windows):  # the same window at the end, by random access
            start = time.perf_counter()
            ours.window(int(seconds * 1e6) - window_us, int(seconds * 1e6))
            late.append(time.perf_counter() - start)
        first: list[float] = []
        for _ in range(args.windows):
            start = time.perf_counter()
            ours.window(0, window_us)
            first.append(time.perf_counter() - start)
    loader_s, step_s = training(args.batches)
    mine_s, other_s = (statistics.median(column) for column in zip(*times, strict=True))
    per_window = args.events / args.windows
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {p: version(p) for p in ("numpy", "numba", "tonic", "expelliarmus", "emsyolo")},
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {k: v for k, v in vars(args).items() if k != "out"},
        "ours_ms": round(1000 * mine_s, 3),
        "tonic_ms": round(1000 * other_s, 3),
        "ratio": round(other_s / mine_s, 2),
        "ours_events_per_s": round(per_window / mine_s),
        "last_window_over_first": round(statistics.median(late) / statistics.median(first), 3),
        "loader_ms_per_batch": round(1000 * loader_s, 1),
        "training_step_ms": round(1000 * step_s, 1),
        "waiting_share": round(loader_s / (loader_s + step_s), 3),
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
