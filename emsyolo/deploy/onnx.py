"""ONNX files: the network with all its steps in one graph, and one step with memories in and out, for streams."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from emsyolo.deploy.lower import has_state, lowered
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.neuron.state import State
from emsyolo.types import Candidates

STEP = ".step.onnx"


class Whole(nn.Module):
    """Frames to candidates, all steps: what the first graph computes.

    Args:
        detector: of plain operators; frames of a still image are `[N, C, H, W]`, of events `[T, N, C, H, W]`.
        still: frames are still images.
    """

    def __init__(self, detector: Detector, *, still: bool) -> None:
        super().__init__()
        self.detector, self.still = detector, still

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes `[N, P, 4]` xyxy in px and scores `[N, P, K]`; see `emsyolo.types.Candidates`."""
        found = self.detector(frames.unsqueeze(0) if self.still else frames).candidates()
        return found.boxes_xyxy, found.scores


class Step(nn.Module):
    """One frame and memories to raw maps and memories: what the second graph computes.

    Args:
        detector: of plain operators, T = 1.
        frame: an example `[N, C, H, W]`, which shows the shapes of the memories.

    Attributes:
        names: of the memories: as its neuron's where it has one, else `NEURON.MEMORY`.
        first: what they are before a stream, `[N, *]` each.
    """

    def __init__(self, detector: Detector, frame: Tensor) -> None:
        super().__init__()
        self.detector = detector
        with torch.no_grad():
            _, self._state = detector.run(frame.unsqueeze(0))
        self._places = [
            (module, name)
            for module, memories in self._state.values.items()
            for name, value in memories.items()
            if isinstance(value, Tensor)
        ]
        alone = {module: sum(place[0] == module for place in self._places) == 1 for module, _ in self._places}
        self.names = [module if alone[module] else f"{module}.{name}" for module, name in self._places]
        start = self._state.where(torch.zeros(len(frame), dtype=torch.bool))
        self.first = [start.values[module][name] for module, name in self._places]

    def forward(self, frame: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        """The raw maps of a frame `[N, C, H, W]`, small stride first, then the memories `[N, *]` after it."""
        maps, state = self.detector.run(frame.unsqueeze(0), self._with(memories))
        return (*maps.maps, *(state.values[module][name] for module, name in self._places))

    def _with(self, memories: tuple[Tensor, ...]) -> State:
        values = {module: dict(memories) for module, memories in self._state.values.items()}
        for (module, name), value in zip(self._places, memories, strict=True):
            values[module][name] = value
        return replace(self._state, values=values)


@dataclass(frozen=True)
class Onnx:
    """`format=onnx`: the whole network, and beside it one step of it where it has a state.

    The first graph has `frames` in, `boxes` and `scores` out. The second has `frame` and a tensor per memory in, a raw
    map per level (`map_STRIDE`) and the memories after it (`NAME.next`) out; a stream begins with the memories' start
    (zeros, or `neuron.start` times the threshold), and after T steps the answer is the decoded mean of their maps. Both
    take any number N of images.

    Attributes:
        step: write the second graph.
    """

    suffix: ClassVar[str] = ".onnx"
    needs_frames: ClassVar[bool] = True

    step: bool = True

    def write(self, detector: Detector, frames: Tensor, path: Path, about: Mapping[str, Any]) -> list[Path]:
        """See `emsyolo.deploy.export.Export`."""
        facts = {key: value for key, value in about.items() if key != "config"}
        facts |= detector.head.layout.about() | {"frames": "RGB or event frames in [0, 1]"}
        facts |= {"boxes": "x0, y0, x1, y1 in px", "scores": "per class, in [0, 1]"}
        still, network = len(frames) == 1, lowered(detector)
        batch = torch.export.Dim("N", min=1)
        _write(
            Whole(network, still=still), (frames[0] if still else frames,), path, facts, ["frames"],
            ["boxes", "scores"], ({0 if still else 1: batch},),
        )  # fmt: skip
        if not (self.step and has_state(network)):
            return [path]
        beside = path.with_suffix(STEP)
        step = _step(network, frames[0])
        levels = [f"map_{stride}" for stride in detector.head.layout.strides]
        _write(
            step, (frames[0], *step.first), beside, facts, ["frame", *step.names],
            [*levels, *(f"{name}.next" for name in step.names)], ({0: batch}, tuple({0: batch} for _ in step.first)),
        )  # fmt: skip
        return [path, beside]

    def run(self, paths: list[Path], detector: Detector, frames: Tensor) -> dict[Path, Candidates]:
        """What ONNX Runtime finds with each graph.

        Raises:
            ModuleNotFoundError: ONNX Runtime is not installed.
        """
        found = {}
        for path in paths:
            if path.name.endswith(STEP):
                found[path] = _stepped(detector, frames, path)
            else:
                feed = (frames[0] if len(frames) == 1 else frames).numpy()
                boxes, scores = _session(path).run(["boxes", "scores"], {"frames": feed})
                found[path] = Candidates(torch.from_numpy(boxes), torch.from_numpy(scores))
        return found


def _step(network: Detector, frame: Tensor) -> Step:
    network.T = 1
    return Step(network, frame)


def _stepped(detector: Detector, frames: Tensor, path: Path) -> Candidates:
    """The candidates of the mean of the maps of all T steps, by the graph of one."""
    session, step = _session(path), _step(lowered(detector), frames[0])
    memories = [memory.numpy() for memory in step.first]
    sums: list[Any] = []
    for t in range(detector.T):
        feed = frames[t if len(frames) > 1 else 0].numpy()
        found = session.run(None, {"frame": feed, **dict(zip(step.names, memories, strict=True))})
        levels, memories = found[: -len(memories)], found[-len(memories) :]
        sums = [a + b for a, b in zip(sums, levels, strict=True)] if sums else list(levels)
    return detector.head.layout.candidates([torch.from_numpy(total / detector.T) for total in sums])


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
