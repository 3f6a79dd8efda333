"""Answers by CUDA graphs: all kernels of a network are launched at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emsyolo.types import HeadMaps

WARM_UP = 3  # runs before a capture, in which kernels are compiled and convolutions choose their algorithms


class Graphed:
    """A network for inference, captured at the first frames of each shape and dtype, and replayed at all others.

    A network of few images is bound by the launches of its kernels; a graph of them is one launch. What runs is what
    ran before. Each shape holds memory for its maps between the layers.

    Args:
        run: frames `[T0, N, C, H, W]` on a CUDA device to head maps; keeps nothing between calls, and waits for the
            device nowhere.
    """

    def __init__(self, run: Callable[[Tensor], HeadMaps]) -> None:
        self._run = run
        self._captured: dict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, Tensor, HeadMaps]] = {}

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> HeadMaps:
        """The head maps of frames.

        Raises:
            ValueError: frames that are not on a CUDA device.
        """
        if frames.device.type != "cuda":
            raise ValueError(f"frames are on {frames.device}; CUDA graphs expect a CUDA device")
        key = (frames.shape, frames.stride(), frames.dtype, frames.device)
        if key not in self._captured:
            self._captured[key] = self._capture(frames)
        graph, given, maps = self._captured[key]
        given.copy_(frames)
        graph.replay()
        return HeadMaps(tuple(level.clone() for level in maps.maps), maps.layout)

    def _capture(self, frames: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, HeadMaps]:
        with torch.cuda.device(frames.device):
            given = frames.clone()
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    self._run(given)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                maps = self._run(given)
        return graph, given, maps
