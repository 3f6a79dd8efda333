"""Training for streams beside training on windows from nothing: time of a step and what autograd keeps of it.

On the embedded `digits_dvs`, or what the overrides say, with batches from the data set's own loader; a step is forward,
loss and backward. Runs alternate over the recipes, each run a new batch; ratios are those of the medians.

    python benchmark/streams.py [--runs 15] [--device cpu|cuda] [--out FILE] [key=value ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from interleaved import about, interleaved

from emsyolo.app.build import data_of, detector_of, fit_to_data
from emsyolo.app.config import compose_config
from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.model.along import read_along, warmed_up
from emsyolo.neuron.state import State
from emsyolo.types import Batch

WINDOWS = "windows from nothing"
WARM = "warm_up_steps=[0,6]"
RECIPES = {
    WINDOWS: ["dataset.warm_up_steps=null"],
    WARM: ["dataset.warm_up_steps=[0,6]"],
    "sequence=6": ["dataset.sequence=6"],
    "sequence=12": ["dataset.sequence=12"],
    "sequence=12, temporal=conv_lstm": ["dataset.sequence=12", "temporal=conv_lstm"],
    "sequence=12, temporal=conv_lstm alone": ["dataset.sequence=12", "temporal=conv_lstm", "trainable=[temporal]"],
}


class Recipe:
    """A detector in training and its batches."""

    def __init__(self, overrides: list[str], device: torch.device) -> None:
        torch.manual_seed(0)
        cfg = compose_config("train", ["dataset=digits_dvs", "dataset.num_workers=0", *overrides])
        data = data_of(cfg)
        fit_to_data(cfg, data)
        self.detector = detector_of(cfg).to(device, memory_format=torch.channels_last).train()
        if cfg.trainable is not None:
            self.detector.train_only(list(cfg.trainable))
        self.loss = instantiate(cfg.loss)
        self.device = device
        self.batches = self._endless(data.train_loader())
        self.state: State | None = None

    def _endless(self, loader: Any) -> Iterator[Batch]:
        while True:
            yield from (batch.to(self.device) for batch in loader)

    def forward(self) -> torch.Tensor:
        batch = next(self.batches)
        if batch.reads is not None:
            maps, after = read_along(self.detector, batch, self.state)
            self.state = after.detach()
        else:
            state = warmed_up(self.detector, batch)
            maps = self.detector(batch.frames) if state is None else self.detector.run(batch.frames, state)[0]
        return self.loss(maps, batch.targets)["loss"]

    def step(self) -> None:
        self.detector.zero_grad(set_to_none=True)
        self.forward().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path)
    args, overrides = parser.parse_known_args()
    args.overrides, args.threads = overrides, torch.get_num_threads()
    result = about(args, ("out",))
    recipes = {name: Recipe([*more, *overrides], torch.device(args.device)) for name, more in RECIPES.items()}
    result["kept_MB"] = {
        name: round(max(bytes_kept(one.detector, one.forward) for _ in range(3)) / 1e6, 1)
        for name, one in recipes.items()
    }
    print(result["kept_MB"])
    result["training"] = interleaved(
        {name: one.step for name, one in recipes.items()}, args.runs, "training", baseline=WINDOWS
    )
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
