"""Whole networks on a GPU: training steps, answers, boxes, CUDA graphs, torch.compile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from emsyolo.app import build_detector
from emsyolo.deploy.inference import for_inference, quicken
from emsyolo.loss.loss import Loss
from emsyolo.loss.point import PointLoss
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.kernels import gpu
from emsyolo.neuron.memory import Memory, set_memory
from emsyolo.types import Targets

pytestmark = pytest.mark.gpu
MOST_WAITS = 5  # of a training step
NETWORKS: dict[str, tuple[str, list[str], Callable[[], Loss]]] = {
    "lif": ("ems_resnet10", ["model.width=0.25"], YOLOLoss),
    "ilif": ("ems_small_ilif", ["model.width=0.25"], PointLoss),
    "spike_yolo": ("spike_yolo_n", [], PointLoss),
}


def built(name: str, memory: Memory = "packed") -> Detector:
    torch.manual_seed(0)
    model, typed, _ = NETWORKS[name]
    detector = build_detector(model, 3, 2, typed)
    set_memory(detector, memory)
    return detector.to(memory_format=torch.channels_last)


def frames(images: int = 4) -> Tensor:
    return torch.rand(1, images, 3, 96, 160, generator=torch.Generator().manual_seed(1))


def targets() -> list[Targets]:
    """On the host, as they come from a data set."""
    one = Targets(
        torch.tensor([[10.0, 20, 90, 80], [100, 5, 140, 60]]), torch.tensor([0, 2]), torch.tensor([False, False])
    )
    return [one, Targets.none(), one, one]


def step(detector: Detector, loss: Loss, x: Tensor, *, half: bool) -> Tensor:
    detector.train().zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        found = loss(detector(x), targets())["loss"]
    found.backward()
    return found.detach()


@pytest.mark.parametrize("memory", ["plain", "packed", "recompute"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step(device: torch.device, name: str, half: bool, memory: Memory) -> None:
    loss = NETWORKS[name][2]()
    expected = step(built(name), loss, frames(), half=False)
    detector = built(name, memory).to(device)
    found = step(detector, loss, frames().to(device), half=half)
    # Sums in another order move potentials that lie at the threshold.
    torch.testing.assert_close(found.cpu(), expected, rtol=0.1 if half else 0.02, atol=0)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_seldom_waits(
    device: torch.device, name: str, waits: Callable[[Callable[[], object]], int]
) -> None:
    loss, detector, x = NETWORKS[name][2](), built(name).to(device), frames().to(device)
    step(detector, loss, x, half=True)  # compiles kernels
    assert waits(lambda: step(detector, loss, x, half=True)) <= MOST_WAITS


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_are_those_of_the_cpu(device: torch.device, name: str) -> None:
    with torch.inference_mode():
        maps = built(name).eval()(frames())
        expected = Postprocess(confidence=0.01)(maps)
        found = Postprocess(confidence=0.01)(type(maps)(tuple(one.to(device) for one in maps.maps), maps.layout))
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        assert len(one.scores) == len(other.scores)
        torch.testing.assert_close(other.boxes_xyxy.cpu(), one.boxes_xyxy, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_give_what_was_captured_and_what_comes_after(device: torch.device, name: str) -> None:
    ready = for_inference(built(name), device, precision="bf16")
    graphed = for_inference(built(name), device, precision="bf16")
    quicken(graphed, "graph")
    with torch.inference_mode():
        for x in (frames(), frames().flip(-1), frames(2), frames()):
            for one, other in zip(ready(x.to(device)).maps, graphed(x.to(device)).maps, strict=True):
                torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_compiled_networks_answer_as_others(device: torch.device) -> None:
    ready, compiled = (for_inference(built("ilif"), device) for _ in range(2))
    quicken(compiled, True)
    with torch.inference_mode():
        for one, other in zip(ready(frames().to(device)).maps, compiled(frames().to(device)).maps, strict=True):
            assert (one - other).abs().mean() < 0.05 * one.std()


@pytest.mark.parametrize("name", NETWORKS)
def test_without_cupy_the_answer_is_the_same(device: torch.device, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, detector = frames().to(device), built(name).to(device).eval()
    with torch.inference_mode():
        expected = detector(x)
        monkeypatch.setattr(gpu, "why_not_cupy", lambda: "said to be broken")
        gpu._choice.cache_clear()
        assert gpu.kernels() is not None
        found = detector(x)
    gpu._choice.cache_clear()
    for one, other in zip(expected.maps, found.maps, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_second_device(device: torch.device) -> None:
    loss = YOLOLoss()
    found = [step(built("lif").to(one), loss, frames().to(one), half=False).cpu() for one in ("cuda:0", "cuda:1")]
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=0)
