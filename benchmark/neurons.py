"""The LIF alone, forward and backward, against a loop over the steps and SpikingJelly's LIFNode.

Contestants run in turns; ratios are those of the medians. The bandwidth is that of the bytes which have to move
(currents, spikes, potential, two bits per neuron and step, upstream and own gradient), as a share of that of a copy of
as many. Beside the times: what autograd keeps.

    python benchmark/neurons.py [--steps 4] [--batch 2] [--channels 64] [--size 80] [--runs 20] [--device cpu|cuda]
                                [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from interleaved import Task, about, interleaved
from reference import SteppedLIF, spikingjelly_lif
from torch import nn

from emsyolo.evaluator.bytes_kept import bytes_kept
from emsyolo.neuron.lif import LIF


class Bench:
    """Currents of one layer, and the contestants on them."""

    def __init__(self, args: argparse.Namespace, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        shape = (args.steps, args.batch, args.channels, args.size, args.size)
        self.currents = torch.randn(shape, dtype=torch.float32, device=args.device).mul(0.7).to(dtype)
        self.upstream = torch.randn_like(self.currents)

    def forward(self, node: nn.Module) -> Task:
        def run() -> None:
            with torch.inference_mode():
                node.reset()  # type: ignore[operator]
                node(self.currents)

        return run

    def both(self, node: nn.Module) -> Task:
        leaf = self.currents.clone().requires_grad_()

        def run() -> None:
            node.reset()  # type: ignore[operator]
            torch.autograd.grad(node(leaf), leaf, self.upstream)

        return run

    def nodes(self, device: str) -> dict[str, nn.Module]:
        """By name; CuPy's kernel on a GPU, numba's on a CPU. SpikingJelly takes its Triton on a GPU, else torch."""
        return {
            "step by step": SteppedLIF(LIF()),
            "SpikingJelly": spikingjelly_lif(LIF()),
            "ours": LIF(backend="cupy" if device == "cuda" else "numba"),
        }

    def kept(self, node: nn.Module) -> int:
        """Bytes that autograd keeps of a forward pass, the currents left out."""
        leaf = self.currents.clone().requires_grad_()
        node.reset()  # type: ignore[operator]
        kept = bytes_kept(node, lambda: node(leaf))
        node.reset()  # type: ignore[operator]
        return kept

    def copied(self, times: float) -> Task:
        """Reads and writes of so many bytes in all as `times` of the currents' size."""
        source = torch.zeros(round(times / 2 * self.currents.nbytes), dtype=torch.uint8, device=self.currents.device)
        target = torch.empty_like(source)

        def run() -> None:
            target.copy_(source)

        return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=80)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.threads = torch.get_num_threads()
    result = about(args, ("out",))
    for dtype in (torch.float32, torch.bfloat16):
        bench = Bench(args, dtype)
        name = str(dtype).removeprefix("torch.")
        forward = {key: bench.forward(node) for key, node in bench.nodes(args.device).items()}
        # Read the currents, write the spikes and the last potential; with a gradient also the bits, which are read
        # again, and two gradients.
        bits = -(-args.steps // 4) / args.steps / dtype.itemsize
        potential = 4 / args.steps / dtype.itemsize
        forward["a copy of as many bytes"] = bench.copied(2 + potential)
        both = {key: bench.both(node) for key, node in bench.nodes(args.device).items()}
        both["a copy of as many bytes"] = bench.copied(4 + 2 * bits + potential)
        for kind, tasks in (("forward", forward), ("forward and backward", both)):
            rows = interleaved(tasks, args.runs, f"{name}, {kind}", baseline="SpikingJelly")
            bandwidth = rows["a copy of as many bytes"]["s"] / rows["ours"]["s"]
            print(f"{name}, {kind}: {bandwidth:.0%} of the bandwidth of a copy")
            result[f"{name}, {kind}"] = {**rows, "bandwidth": round(bandwidth, 2)}
        kept = {key: bench.kept(node) / 1e6 for key, node in bench.nodes(args.device).items()}
        result[f"{name}, kept_MB"] = {key: round(value, 2) for key, value in kept.items()}
        print(f"{name}, MB kept for the backward pass: {result[f'{name}, kept_MB']}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
