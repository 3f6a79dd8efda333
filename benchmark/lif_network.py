"""EMS-ResNet34 on our LIF against the same network on SpikingJelly's LIFNode, on a CPU or GPU.

Evaluation and training step, T = 4, 320x320. The baseline is the plain multi-step network: SpikingJelly's LIFNode and
tdBN, the stem computed at every step, NCHW. Runs alternate; the ratio is that of the medians.

    python benchmark/lif_network.py [--batch 2] [--runs 7] [--size 320] [--steps 4] [--device cpu] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import spikingjelly.activation_based.layer as sj_layer
import torch
from rich.progress import track
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from emsyolo.app import build_detector
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.model.detector import Detector
from emsyolo.neuron.multistep import TdBN
from emsyolo.types import Targets


class Repeat(nn.Module):
    """A still image copied to every step, as the plain multi-step network takes it."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.T = steps

    def forward(self, frames: Tensor, dtype: torch.dtype) -> Tensor:
        return frames.to(dtype).repeat(self.T, 1, 1, 1, 1)


def plain(detector: Detector) -> Detector:
    """The detector with SpikingJelly's neuron in every place and no step shared."""
    for module in list(detector.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, neuron.LIFNode):
                node = neuron.LIFNode(
                    tau=child.tau,
                    decay_input=False,
                    v_threshold=child.v_threshold,
                    v_reset=0.0,
                    surrogate_function=surrogate.Rect(alpha=1.0),
                    detach_reset=True,
                    step_mode="m",
                )
                setattr(module, name, node)
            elif isinstance(child, TdBN):
                v_threshold = child.weight[0].item() / child.alpha
                norm = sj_layer.ThresholdDependentBatchNorm2d(child.alpha, v_threshold, child.num_features)
                norm.load_state_dict(child.state_dict())
                # Its own step mode folds [T, N]; here the container has folded already.
                setattr(module, name, _Folded(norm))
    detector.encode = Repeat(detector.T)  # type: ignore[assignment]
    return detector


class _Folded(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm.super_forward(x)  # type: ignore[no-any-return, operator]


def synchronised(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(run: Callable[[], object], device: str) -> float:
    synchronised(device)
    start = time.perf_counter()
    run()
    synchronised(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    build = partial(build_detector, model="ems_resnet34", num_classes=80, T=args.steps)
    torch.manual_seed(0)
    ours = build().to(memory_format=torch.channels_last).to(args.device)
    theirs = plain(build()).to(args.device)
    frames = torch.rand(1, args.batch, 3, args.size, args.size, device=args.device)
    targets = [Targets(torch.tensor([[40.0, 60, 200, 180]]), torch.tensor([3]), torch.tensor([False]))] * args.batch
    loss = YOLOLoss()

    def evaluate(detector: Detector) -> None:
        detector.eval()
        with torch.inference_mode():
            detector(frames)

    def train(detector: Detector) -> None:
        detector.train()
        detector.zero_grad(set_to_none=True)
        loss(detector(frames), targets)["loss"].backward()

    result = {
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if args.device.startswith("cuda") else ""),
        "versions": {p: version(p) for p in ("torch", "spikingjelly", "emsyolo")},
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {k: v for k, v in vars(args).items() if k != "out"},
    }
    for name, task in (("evaluation", evaluate), ("training step", train)):
        for detector in (ours, theirs):
            task(detector)
        times: list[tuple[float, float]] = []
        for _ in track(range(args.runs), description=name, transient=True):
            times.append((timed(lambda: task(ours), args.device), timed(lambda: task(theirs), args.device)))  # noqa: B023
        mine, other = (statistics.median(column) for column in zip(*times, strict=True))
        result[name] = {"ours_s": round(mine, 4), "spikingjelly_s": round(other, 4), "speedup": round(other / mine, 3)}
        print(f"{name}: ours {mine:.3f} s, SpikingJelly's LIFNode {other:.3f} s, ratio {other / mine:.2f}x")
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
