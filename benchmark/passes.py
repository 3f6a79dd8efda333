"""Normalisation, addition of the shortcut and LIF in one pass, against one pass each: forward, and a training step of
the three alone, whose spikes and sum both have a gradient.

Contestants run in turns; ratios are those of the medians. The maps are those between the blocks of EMS-ResNet34.

    python benchmark/passes.py [--steps 4] [--batch 2] [--size 320] [--runs 30] [--device cpu|cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from interleaved import Task, about, interleaved
from torch import Tensor, nn

from emsyolo.layer.multistep import over_time
from emsyolo.layer.tdbn import TdBN
from emsyolo.neuron.lif import LIF

STAGES = {4: 64, 8: 128, 16: 256, 32: 512}  # channels by stride
APART, TOGETHER = "one pass each", "one pass"


class Bench:
    """The maps of a stage, and both ways through what lies between a convolution and the next."""

    def __init__(self, args: argparse.Namespace, stride: int, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        shape = (args.steps * args.batch, STAGES[stride], args.size // stride, args.size // stride)

        def some() -> Tensor:
            made = torch.randn(shape, device=args.device).to(dtype, memory_format=torch.channels_last)
            return made.unflatten(0, (args.steps, args.batch))

        self.maps, self.shortcut = some().requires_grad_(), some().requires_grad_()
        self.upstream = some(), some()
        self.norm, self.lif = TdBN(STAGES[stride], 0.5).to(args.device), LIF()
        self.lif.remembers = False

    def apart(self) -> tuple[Tensor, Tensor]:
        total = over_time(self.maps, self.norm) + self.shortcut
        return self.lif(total), total

    def together(self) -> tuple[Tensor, Tensor]:
        norm = self.norm.normalisation(self.maps.flatten(0, 1))
        found: tuple[Tensor, Tensor] = self.lif(self.maps, norm=norm, add=self.shortcut, total=True)
        return found

    def inference(self) -> dict[str, Task]:
        def of(run: Task) -> Task:
            def answer() -> None:
                self.norm.eval()
                with torch.inference_mode():
                    run()

            return answer

        return {APART: of(self.apart), TOGETHER: of(self.together)}

    def training(self) -> dict[str, Task]:
        leaves: list[Tensor | nn.Parameter] = [self.maps, self.shortcut, self.norm.weight, self.norm.bias]

        def of(run: Task) -> Task:
            def step() -> None:
                self.norm.train()
                torch.autograd.grad(run(), leaves, self.upstream)

            return step

        return {APART: of(self.apart), TOGETHER: of(self.together)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.threads = torch.get_num_threads()
    result = about(args, ("out",))
    for dtype in (torch.float32, torch.bfloat16):
        for stride in STAGES:
            bench, name = Bench(args, stride, dtype), f"{str(dtype).removeprefix('torch.')}, stride {stride}"
            for kind in ("inference", "training"):
                key = f"{name}, {kind}"
                result[key] = interleaved(getattr(bench, kind)(), args.runs, key, baseline=APART)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
