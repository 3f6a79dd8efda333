"""Photographs of 12 MP on their way to a training: decoded every time, or kept reduced by `dataset.cache`.

Photographs are made (smooth pictures, saved as JPEG) in a temporary folder; a loader in this process gives training
samples of `experiment=small_photos`, with mosaic, so that each is made of four photographs. Runs alternate.

    python benchmark/photographs.py [--images 16] [--runs 5] [--threads 1] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from interleaved import about, interleaved
from PIL import Image

from emsyolo.app.build import data_of, fit_to_data
from emsyolo.app.config import compose_config
from emsyolo.dataset.datamodule import DataModule

PHOTOGRAPH_HW = (3000, 4000)
SAMPLES = 8  # of a run
LONG_SIDES = {320: (256, 320), 640: (480, 640)}  # px of the input


def photographs(root: Path, count: int) -> None:
    """Photographs with one box each, as YOLO has them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(256, size=(60, 80, 3), dtype=np.uint8))
        path = root / "images" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse.resize(PHOTOGRAPH_HW[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
        label = root / "labels" / f"{number}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("0 0.5 0.5 0.2 0.2\n")


def opened(root: Path, size_hw: tuple[int, int], cache: Path | None) -> DataModule:
    """The photographs for a training."""
    words = ["experiment=small_photos", f"dataset.root={root}", f"dataset.size_hw=[{size_hw[0]},{size_hw[1]}]"]
    cfg = compose_config("train", [*words, "dataset.num_workers=0", f"dataset.cache={cache or 'null'}"])
    data = data_of(cfg)
    fit_to_data(cfg, data)
    return data


def load(data: DataModule) -> None:
    """Make some training samples."""
    samples = data.train_loader().dataset
    for index in range(SAMPLES):
        samples[0, index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.device = "cpu"
    torch.set_num_threads(args.threads)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        root.mkdir()
        photographs(root, args.images)
        for side, size_hw in LONG_SIDES.items():
            decoded, kept = (opened(root, size_hw, cache) for cache in (None, Path(folder) / "cache"))
            tasks = {"decoded every time": partial(load, decoded), "kept reduced": partial(load, kept)}
            found[f"{SAMPLES} samples, {side} px"] = interleaved(
                tasks, args.runs, f"{side} px", baseline="decoded every time"
            )
    if args.out:
        args.out.write_text(json.dumps({**about(args, ("out",)), "loading": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
