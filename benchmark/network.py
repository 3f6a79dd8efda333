"""EMS-ResNet34 for real: inference and training step against the same network step by step, on SpikingJelly's LIFNode,
and its convolutions alone, which no neuron can beat.

"In passes" leaves normalisation and addition of the shortcut to torch, each a pass of its own before the neuron's.

Runs alternate; ratios are those of the medians. Memory of a training step: what autograd keeps, and the peak of the
process (CPU) or the device (CUDA), each contestant in a process of its own.

    python benchmark/network.py [--model ems_resnet34] [--batch 2|largest] [--size 320] [--steps 4] [--runs 5]
                                [--device cpu|cuda] [--compile] [--precision 32 bf16]
                                [--only inference|training|memory] [--out FILE]

`--batch largest`: the largest power of two with which a GPU can train the network step by step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
from pathlib import Path

import torch
from interleaved import Task, about, interleaved
from reference import convolutions_alone, in_passes, on_spikingjelly, step_by_step

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference
from emsyolo.deploy.int8 import available as int8_available
from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.model.detector import Detector
from emsyolo.neuron.memory import Memory, set_memory
from emsyolo.types import Targets

MEMORIES: tuple[Memory, ...] = ("plain", "packed", "recompute")


class Bench:
    """The network of a benchmark, its input, and the ways to run it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        torch.manual_seed(0)
        self.frames = torch.rand(1, args.batch, 3, args.size, args.size, device=self.device)
        one = Targets(torch.tensor([[40.0, 60, 200, 180]]), torch.tensor([3]), torch.tensor([False]))
        self.targets = [one] * args.batch
        self.loss = YOLOLoss()

    def build(self) -> Detector:
        torch.manual_seed(0)
        return build_detector(self.args.model, 80, self.args.steps).to(self.device)

    def answer(self, detector: Detector) -> Task:
        def run() -> None:
            with torch.inference_mode():
                detector.eval()(self.frames)

        return run

    def step(self, detector: Detector, bfloat16: bool = False) -> Task:
        def run() -> None:
            detector.train().zero_grad(set_to_none=True)
            self.forward(detector, bfloat16).backward()

        return run

    def forward(self, detector: Detector, bfloat16: bool) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            return self.loss(detector(self.frames), self.targets)["loss"]

    def ours(self, memory: Memory = "packed", bfloat16: bool = False) -> Detector:
        detector = self.build()
        set_memory(detector, memory)
        # As the trainer does.
        return detector if bfloat16 and self.device.type == "cpu" else detector.to(memory_format=torch.channels_last)

    def inference(self) -> dict[str, Task]:
        tasks = {
            "step by step": self.answer(step_by_step(self.build())),
            "SpikingJelly's LIFNode": self.answer(on_spikingjelly(self.build())),
        }
        for precision in self.args.precision:
            ready = for_inference(self.build(), self.device, precision=precision)
            tasks[f"convolutions alone, {precision}"] = self._alone(ready)
            tasks[f"ours, {precision}"] = self.answer(ready)
            if self.args.compile:
                compiled = for_inference(self.build(), self.device, precision=precision)
                compiled.compile()
                tasks[f"ours, {precision}, compiled"] = self.answer(compiled)
        if self.device.type == "cpu" and int8_available():
            for precision in ("int8", "int8-bf16"):
                tasks[f"ours, {precision}"] = self.answer(for_inference(self.build(), self.device, precision=precision))
        return tasks

    def _alone(self, ready: Detector) -> Task:
        run = convolutions_alone(ready, self.frames, backward=False)

        def alone() -> None:
            with torch.inference_mode():
                run()

        return alone

    def training(self) -> dict[str, Task]:
        tasks = {
            "step by step": self.step(step_by_step(self.build())),
            "SpikingJelly's LIFNode": self.step(on_spikingjelly(self.build())),
        }
        for precision in self.args.precision:
            dtype = torch.bfloat16 if precision == "bf16" else None
            alone = convolutions_alone(self.ours(), self.frames, True, dtype)
            tasks[f"convolutions alone, {precision}"] = alone
        for memory in MEMORIES:
            for precision in self.args.precision:
                name, bfloat16 = f"ours, {precision}, {memory}", precision == "bf16"
                tasks[name] = self.step(self.ours(memory, bfloat16), bfloat16)
                if memory == "plain":
                    tasks[f"{name}, in passes"] = self.step(in_passes(self.ours(memory, bfloat16)), bfloat16)
        if self.args.compile:
            compiled = self.ours("packed", bfloat16=True)
            compiled.compile()
            tasks["ours, bf16, packed, compiled"] = self.step(compiled, bfloat16=True)
        return tasks

    def memory(self, name: str) -> dict[str, float]:
        """MB that autograd keeps, and at the peak, for one contestant's training step; in a fresh process."""
        special = {"step by step": step_by_step, "SpikingJelly's LIFNode": on_spikingjelly}
        bfloat16 = "bf16" in name
        detector = special[name](self.build()) if name in special else self.ours(name.split(", ")[-1], bfloat16)  # type: ignore[arg-type]
        detector.train()
        kept = bytes_kept(detector, lambda: self.forward(detector, bfloat16))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.step(detector, bfloat16)()
            return {"kept_MB": kept / 1e6, "peak_MB": torch.cuda.max_memory_allocated() / 1e6}
        self.step(detector, bfloat16)()
        return {"kept_MB": kept / 1e6, "peak_MB": _peak_bytes() / 1e6}


def _fits(arguments: tuple[argparse.Namespace, str]) -> bool:
    args, name = arguments
    try:
        Bench(args).memory(name)
    except torch.OutOfMemoryError:
        return False
    return True


def largest_batch(args: argparse.Namespace) -> int:
    """The largest power of two that the network step by step can be trained with, each tried in a fresh process."""
    batch = 1
    while True:
        tried = argparse.Namespace(**{**vars(args), "batch": 2 * batch})
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            if not pool.map(_fits, [(tried, "step by step")])[0]:
                return batch
        batch *= 2


def _peak_bytes() -> int:
    """The process's largest resident memory; on Linux getrusage would give a child its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _memory_of(arguments: tuple[argparse.Namespace, str]) -> dict[str, float]:
    args, name = arguments
    torch.set_num_threads(args.threads)
    return {key: round(value, 1) for key, value in Bench(args).memory(name).items()}


def memory(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    names = ["step by step", "SpikingJelly's LIFNode"]
    names += [f"ours, {precision}, {memory}" for precision in args.precision for memory in MEMORIES]
    found = {}
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            (found[name],) = pool.map(_memory_of, [(args, name)])
        print(f"memory: {name:32s} {found[name]['kept_MB']:8.1f} MB kept  {found[name]['peak_MB']:8.1f} MB at the peak")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ems_resnet34")
    parser.add_argument("--batch", type=lambda text: text if text == "largest" else int(text), default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", nargs="+", default=["32", "bf16"], choices=("32", "bf16"))
    parser.add_argument("--only", choices=("inference", "training", "memory"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.threads = torch.get_num_threads()
    if args.batch == "largest":
        if args.device != "cuda":
            parser.error("--batch largest: expected --device cuda; type a number for a CPU")
        args.batch = largest_batch(args)
    result = about(args, ("out", "only"))
    bench = Bench(args)
    for name in ("inference", "training"):
        if args.only in (None, name):
            result[name] = interleaved(getattr(bench, name)(), args.runs, name, baseline="step by step")
    if args.only in (None, "memory"):
        result["memory"] = memory(args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
