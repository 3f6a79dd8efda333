"""ONNX files: the network with all its steps in one graph, and one step with potentials in and out, for streams."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torchvision.ops import box_iou

from emsyolo.convert.fold import fold_normalisation
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess, decode
from emsyolo.neuron.lif import LIF
from emsyolo.neuron.multistep import reset
from emsyolo.neuron.pool import MaxPool2d
from emsyolo.types import HeadMaps
from emsyolo.weights.atomic import written_whole

SAME_IOU, SAME_SCORE = 0.99, 0.01  # of detections that are alike


class PlainLIF(base.MemoryModule):
    """The LIF in operators that ONNX has; its potential is an attribute, set before a call and read after it."""

    def __init__(self, node: LIF) -> None:
        super().__init__()
        self.decay, self.v_threshold, self.soft_reset = node.decay, node.v_threshold, node.soft_reset
        self.first = node.start * node.v_threshold
        self.potential: Tensor | None = None

    def reset(self) -> None:
        """Forget the potential."""
        self.potential = None

    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, N, *]` of currents `[T, N, *]`."""
        v, out = self.potential, []
        if v is None and self.first:
            v = torch.full_like(x[0], self.first)
        for current in x.unbind(0):
            u = current if v is None else current + self.decay * v
            fired = u >= self.v_threshold
            v = torch.where(fired, u - self.v_threshold if self.soft_reset else torch.zeros_like(u), u)
            out.append(fired.to(x.dtype))
        self.potential = v
        return torch.stack(out)


class Whole(nn.Module):
    """Frames to boxes, all steps: what the first graph computes.

    Args:
        detector: of plain operators; frames of a still image are `[N, C, H, W]`, of events `[T, N, C, H, W]`.
        still: frames are still images.
    """

    def __init__(self, detector: Detector, *, still: bool) -> None:
        super().__init__()
        self.detector, self.still = detector, still

    def forward(self, frames: Tensor) -> Tensor:
        """Boxes `[N, boxes, 5 + K]` of `emsyolo.model.postprocess.decode`."""
        return decode(self.detector(frames.unsqueeze(0) if self.still else frames))


class Step(nn.Module):
    """One frame and potentials to raw maps and potentials: what the second graph computes.

    Args:
        detector: of plain operators, T = 1.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.neurons = {name: one for name, one in detector.named_modules() if isinstance(one, PlainLIF)}

    def forward(self, frame: Tensor, *potentials: Tensor) -> tuple[Tensor, ...]:
        """Maps `[N, A, H, W, 5+K]`, small stride first, then the potentials `[N, *]` after the frame `[N, C, H, W]`."""
        for neuron, potential in zip(self.neurons.values(), potentials, strict=True):
            neuron.potential = potential
        maps = self.detector.advance(frame.unsqueeze(0)).maps
        after = [neuron.potential for neuron in self.neurons.values()]
        reset(self.detector)
        return (*maps, *(one for one in after if one is not None))


def plain(detector: Detector) -> Detector:
    """A copy for export: on the CPU, in float32, normalisation folded, neurons and pooling in plain operators."""
    copied = copy.deepcopy(detector).cpu().float().eval().requires_grad_(requires_grad=False)
    copied.to(memory_format=torch.contiguous_format)
    fold_normalisation(copied)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LIF):
                setattr(parent, name, PlainLIF(child))
            elif isinstance(child, MaxPool2d):
                setattr(parent, name, nn.MaxPool2d(child.kernel_size, child.stride))
    return copied


def export_whole(detector: Detector, frames: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    """Write the graph of all steps: `frames` to `boxes`, for any number N of images.

    Args:
        detector: a trained one; left untouched.
        frames: an example `[T0, N, C, H, W]` in [0, 1]; T0 = 1 makes a graph of still images.
        path: of the file.
        about: what stands in the file's metadata, as JSON under `emsyolo`.
    """
    still = len(frames) == 1
    example = frames[0] if still else frames
    batch = torch.export.Dim("N", min=1)
    _write(
        Whole(plain(detector), still=still), (example,), path, about, ["frames"], ["boxes"],
        ({0 if still else 1: batch},),
    )  # fmt: skip


def export_step(detector: Detector, frame: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    """Write the graph of one step: `frame` and a potential per neuron to a map per level and the potentials after it.

    A potential is called as its neuron, its successor `NAME.next`; a stream begins with zeros, or with
    `neuron.start` times the threshold. Of T steps the answer is the decoded mean of their maps.

    Args:
        detector: a trained one with LIF neurons; left untouched.
        frame: an example `[N, C, H, W]` in [0, 1].
        path: of the file.
        about: as for `export_whole`.

    Raises:
        ValueError: a detector without a LIF.
    """
    copied = plain(detector)
    copied.T = 1
    step = Step(copied)
    if not step.neurons:
        raise ValueError("the detector has no spiking neuron; a graph of one step with potentials is for those")
    potentials = start(copied, frame)
    levels = [f"map_{stride}" for stride in copied.head.strides]
    batch = torch.export.Dim("N", min=1)
    names = list(step.neurons)
    _write(
        step, (frame, *potentials), path, about, ["frame", *names], [*levels, *(f"{name}.next" for name in names)],
        ({0: batch}, tuple({0: batch} for _ in potentials)),
    )  # fmt: skip


def start(detector: Detector, frame: Tensor) -> list[Tensor]:
    """The potentials before a stream in the order of the graph; their shapes are found by one step."""
    neurons = [one for one in detector.modules() if isinstance(one, PlainLIF)]
    reset(detector)
    with torch.no_grad():
        detector.advance(frame.unsqueeze(0))
    found = [torch.full_like(one.potential, one.first) for one in neurons if one.potential is not None]
    reset(detector)
    return found


@dataclass(frozen=True)
class Agreement:
    """How near a graph comes to the trained detector.

    Attributes:
        apart: the largest difference of a value of a decoded box (px, or shares of 1) that 999 of 1000 boxes keep
            within; the last may differ by more, for a potential beside the threshold may fire in one and not the other.
        detections: how many the detector finds.
        alike: how many of them the graph finds, too: of the same class, IoU >= 0.99, scores within 0.01.
    """

    apart: float
    detections: int
    alike: int


def compare(
    detector: Detector, frames: Tensor, postprocess: Postprocess, whole: Path, step: Path | None
) -> dict[str, Agreement]:
    """How near what ONNX Runtime gives is to what PyTorch gives, for the frames given.

    Args:
        detector: the trained one; left untouched. Its normalisation is not folded, as that of the graphs is.
        frames: `[T0, N, C, H, W]` in [0, 1].
        postprocess: boxes to detections.
        whole: the graph of all steps.
        step: that of one, or None.

    Returns:
        `whole` and, if there is one, `step`.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
    """
    with torch.no_grad():
        maps = copy.deepcopy(detector).cpu().float().eval()(frames)
    expected = decode(maps)
    feed = (frames[0] if len(frames) == 1 else frames).numpy()
    boxes = torch.from_numpy(_session(whole).run(["boxes"], {"frames": feed})[0])
    found = {"whole": _agreement(boxes, expected, postprocess)}
    if step is not None:
        levels = _stepped(detector, frames, step)
        again = decode(HeadMaps(levels, maps.strides, maps.anchors, maps.decoding))
        found["step"] = _agreement(again, expected, postprocess)
    return found


def _stepped(detector: Detector, frames: Tensor, path: Path) -> tuple[Tensor, ...]:
    """The mean of the maps of all T steps, by the graph of one."""
    session = _session(path)
    names = [one.name for one in session.get_inputs()][1:]
    first = plain(detector)
    first.T = 1
    state: Sequence[NDArray[Any]] = [one.numpy() for one in start(first, frames[0])]
    sums: list[NDArray[Any]] = []
    for t in range(detector.T):
        feed = frames[t if len(frames) > 1 else 0].numpy()
        found = session.run(None, {"frame": feed, **dict(zip(names, state, strict=True))})
        levels, state = found[: -len(names)], found[-len(names) :]
        sums = [a + b for a, b in zip(sums, levels, strict=True)] if sums else list(levels)
    return tuple(torch.from_numpy(one / detector.T) for one in sums)


def _agreement(found: Tensor, expected: Tensor, postprocess: Postprocess) -> Agreement:
    """Of decoded boxes `[N, boxes, 5+K]`."""
    apart = float(np.quantile((found - expected).abs().amax(dim=-1), 0.999))
    detections = alike = 0
    for boxes, true in zip(found, expected, strict=True):
        ours, theirs = postprocess.select(boxes), postprocess.select(true)
        detections += len(theirs)
        if len(ours) and len(theirs):
            same = box_iou(theirs.boxes_xyxy, ours.boxes_xyxy) >= SAME_IOU
            same &= theirs.labels[:, None] == ours.labels
            same &= (theirs.scores[:, None] - ours.scores).abs() <= SAME_SCORE
            alike += int(same.any(dim=1).sum())
    return Agreement(apart, detections, alike)


def _session(path: Path) -> Any:
    import onnxruntime  # an extra: pip install 'emsyolo[export]'

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _write(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    about: Mapping[str, Any],
    inputs: list[str],
    outputs: list[str],
    shapes: Any,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own parts
        program = torch.onnx.export(
            module.eval(), example, dynamo=True, input_names=inputs, output_names=outputs, dynamic_shapes=shapes,
            verbose=False,
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props["emsyolo"] = json.dumps(dict(about))
    with written_whole(path) as temporary:
        program.save(str(temporary))
