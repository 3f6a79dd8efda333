"""SpikeYOLO for real: inference and training step against the same network with its neurons as torch's operators.

Runs alternate; ratios are those of the medians. What autograd keeps of a training step is counted in bytes.

    python benchmark/spike_yolo.py [--model spike_yolo_n] [--batch 2] [--size 320] [--steps 1] [--levels 4] [--runs 5]
                                   [--device cpu|cuda] [--tuned] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from interleaved import Task, about, interleaved
from reference import plainly

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference
from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.loss.point import PointLoss
from emsyolo.model.detector import Detector
from emsyolo.neuron.memory import Memory, set_memory
from emsyolo.types import Targets

MEMORIES: tuple[Memory, ...] = ("plain", "packed", "recompute")
PLAIN = "torch's operators"


class Bench:
    """The network of a benchmark, its input, and the ways to run it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        torch.manual_seed(0)
        self.frames = torch.rand(1, args.batch, 3, args.size, args.size, device=self.device)
        one = Targets(torch.tensor([[40.0, 60, 200, 180]]), torch.tensor([3]), torch.tensor([False]))
        self.targets = [one] * args.batch
        self.loss = PointLoss()

    def build(self) -> Detector:
        torch.manual_seed(0)
        levels = f"neuron.levels={self.args.levels}"
        return build_detector(self.args.model, 80, self.args.steps, [levels]).to(self.device)

    def ours(self, memory: Memory, memory_format: torch.memory_format = torch.channels_last) -> Detector:
        detector = self.build()
        set_memory(detector, memory)
        return detector.to(memory_format=memory_format)

    def answer(self, detector: Detector) -> Task:
        def run() -> None:
            with torch.inference_mode():
                detector.eval()(self.frames)

        return run

    def forward(self, detector: Detector) -> torch.Tensor:
        return self.loss(detector(self.frames), self.targets)["loss"]

    def step(self, detector: Detector) -> Task:
        def run() -> None:
            detector.train().zero_grad(set_to_none=True)
            self.forward(detector).backward()

        return run

    def inference(self) -> dict[str, Task]:
        ready = {p: for_inference(self.build(), self.device, precision=p) for p in ("32", "bf16")}
        return {PLAIN: self.answer(plainly(self.build()))} | {f"ours, {p}": self.answer(r) for p, r in ready.items()}

    def training(self) -> dict[str, Task]:
        tasks = {PLAIN: self.step(plainly(self.build()))} | {f"ours, {m}": self.step(self.ours(m)) for m in MEMORIES}
        # Depthwise convolutions have other kernels there.
        return tasks | {"ours, plain, contiguous": self.step(self.ours("plain", torch.contiguous_format))}

    def kept(self) -> dict[str, float]:
        """MB that autograd keeps of a training step."""
        builders: dict[str, Callable[[], Detector]] = {PLAIN: lambda: plainly(self.build())}
        builders |= {f"ours, {memory}": (lambda memory=memory: self.ours(memory)) for memory in MEMORIES}
        found = {}
        for name, build in builders.items():
            detector = build().train()
            found[name] = round(bytes_kept(detector, lambda one=detector: self.forward(one)) / 1e6, 1)
            print(f"kept: {name:32s} {found[name]:8.1f} MB")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="spike_yolo_n")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tuned", action="store_true", help="cuDNN times its algorithms first")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = args.tuned
    args.threads = torch.get_num_threads()
    result = about(args, ("out",))
    bench = Bench(args)
    result["kept_MB"] = bench.kept()
    for name in ("inference", "training"):
        result[name] = interleaved(getattr(bench, name)(), args.runs, name, baseline=PLAIN)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
