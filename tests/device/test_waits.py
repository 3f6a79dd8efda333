"""Training, validation and evaluation on a device that is not there: nothing that CUDA refuses, and few waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from pretend import DEVICE, Pretended, pretended
from torch import Tensor

from emsyolo.app import build_detector
from emsyolo.app import measure as measuring
from emsyolo.app.passes import Direct, Simulated
from emsyolo.convert.converter import Conversion, convert
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.loss.loss import Loss
from emsyolo.loss.point import PointLoss
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.model.postprocess import Postprocess
from emsyolo.optimizer.recipe import Recipe
from emsyolo.trainer.fit import make_trainer
from emsyolo.trainer.module import DetectionModule, Teacher
from emsyolo.types import Batch, Read, Sample, Targets

TRAINING, VALIDATION = 5, 2  # waits at most: of a step, all of Lightning's and torch's among them; of a batch
CLASSES = ("a", "b", "c")
STEPS = 2
ANCHORS, POINTS = "ems_small", "ems_small_ilif"


class Pinned:
    """A loader of batches in pinned memory."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return (batch.pin_memory() for batch in self.batches)


class Watch(lightning.Callback):
    """The waits so far, at the start of each batch."""

    def __init__(self, device: Pretended) -> None:
        self.device = device
        self.training: list[Counter[str]] = []
        self.validation: list[Counter[str]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.training.append(self.device.waits.copy())

    def on_validation_batch_start(self, *_: Any) -> None:
        self.validation.append(self.device.waits.copy())


class Elsewhere(CPUAccelerator):
    """Lets Lightning take the pretended device."""

    def setup_device(self, device: torch.device) -> None:
        assert device == DEVICE


def sample(number: int, boxes: int, lead: int = 0) -> Sample:
    corner = torch.rand(boxes, 2) * 30
    targets = Targets(
        torch.cat((corner, corner + 8 + 20 * torch.rand(boxes, 2)), dim=1), torch.randint(3, (boxes,)),
        torch.arange(boxes) == 2,
    )  # fmt: skip
    return Sample(torch.empty(1, 3, 0, 0, dtype=torch.uint8), targets, number, str(number), (64, 64), lead=lead)


def frames(steps: int, count: int) -> Tensor:
    return torch.randint(0, 256, (steps, count, 3, 64, 64), dtype=torch.uint8)


def stills(first: int = 0) -> Batch:
    return Batch(frames(1, 3), tuple(sample(first + i, boxes) for i, boxes in enumerate((3, 0, 1))))


def windows(first: int = 0) -> Batch:
    samples = tuple(sample(first + i, 2, lead) for i, lead in enumerate((0, 2, 3)))
    return Batch(frames(STEPS, 3), samples, before=frames(3, 3))


def clips(first: int = 0) -> Batch:
    reads = (Read(0, range(0, 2)), Read(2, range(0, 2)), Read(1, range(1, 3)))
    goes_on = torch.tensor([True, False, True])
    samples = tuple(sample(first + i, 2) for i in range(3))
    return Batch(frames(3, 3), samples, reads=reads, goes_on=goes_on, window=STEPS)


def truth(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "images": [{"id": one.id} for one in samples],
        "annotations": [{"image_id": one.id, "category_id": 1, "bbox": [1.0, 2, 20, 30]} for one in samples],
    }


def fitted(
    path: Path, model: str, loss: Loss, train: list[Batch], val: list[Batch], *, taught: bool = False
) -> tuple[Counter[str], Counter[str]]:
    """The waits of the last step of a training, and of the last batch of its validation."""
    detector = build_detector(model, len(CLASSES), STEPS, ["model.width=0.125", "neuron.v_threshold=0.2"])
    teacher = Teacher(build_detector(model, len(CLASSES), STEPS, ["model.width=0.125"])) if taught else None
    recipe = Recipe(partial(torch.optim.SGD, lr=1e-3), warmup_epochs=0)
    module = DetectionModule(detector, loss, recipe, teacher)
    samples = [one for batch in val for one in batch.samples]
    trainer = make_trainer(
        run_dir=path, hyperparameters={}, evaluator=lambda: CocoEvaluator(truth(samples), CLASSES),
        postprocess=Postprocess(), carried=val[0].before is not None, precision="32-true", max_epochs=1,
        strategy=SingleDeviceStrategy(DEVICE, Elsewhere()), gradient_clip_val=10.0,
    )  # fmt: skip
    with pretended() as device:
        watch = Watch(device)
        # Only what is on the host can be saved.
        kept = [callback for callback in trainer.callbacks if not isinstance(callback, Checkpoint)]
        trainer.callbacks = [*kept, watch]
        trainer.fit(module.to(memory_format=torch.channels_last), Pinned(train), Pinned(val))
    assert trainer.global_step == len(train)
    return watch.training[-1] - watch.training[-2], watch.validation[-1] - watch.validation[-2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loss", "batch", "taught"),
    [
        (ANCHORS, YOLOLoss(), stills, True),
        (ANCHORS, YOLOLoss(), windows, False),
        (ANCHORS, YOLOLoss(), clips, False),
        (POINTS, PointLoss(), stills, True),
    ],
)
def test_a_training_waits_for_its_device_a_few_times(
    tmp_path: Path, model: str, loss: Loss, batch: Any, taught: bool
) -> None:
    val = [windows(3 * i) if batch is not stills else stills(3 * i) for i in range(2)]
    step, validation = fitted(tmp_path, model, loss, [batch() for _ in range(4)], val, taught=taught)
    assert step.total() <= TRAINING, step
    assert validation.total() <= VALIDATION, validation


class Counted(Pinned):
    """A loader that notes the waits so far at the start of each batch."""

    def __init__(self, batches: Sequence[Batch], device: Pretended) -> None:
        super().__init__(batches)
        self.device = device
        self.starts: list[Counter[str]] = []

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.starts.append(self.device.waits.copy())
            yield batch


class Images:
    """A validation set, as far as a measurement asks it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def truth(self) -> dict[str, Any]:
        return truth(self.samples)


@pytest.mark.parametrize("kind", ["direct", "converted"])
def test_reading_out_at_several_steps_waits_as_for_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "measure_speed", lambda run, **how: {})
    monkeypatch.setattr(measuring, "_say", lambda metrics, out: None)
    batches = [stills(3 * i) for i in range(3)]
    samples = [one for batch in batches for one in batch.samples]
    detector = build_detector(
        ANCHORS if kind == "direct" else "spiking_yolov3", len(CLASSES), 1, ["model.width=0.125"]
    ).eval()
    spiking = None
    if kind == "converted":
        spiking = convert(detector, lambda: [torch.rand(1, 2, 3, 64, 64)], Conversion(rule="plain", normalise="max"))
    (spiking or detector).T = 4
    with pretended() as device:
        detector.to(DEVICE)
        passes = Direct(detector, [1, 2]) if spiking is None else Simulated(spiking.to(DEVICE), [1, 2], detector)
        loader = Counted(batches, device)
        data: Any = SimpleNamespace(
            val=Images(samples), val_loader=lambda: loader, class_names=CLASSES, box_filter=None, box_filters={},
            eval_batch_size=3,
        )  # fmt: skip
        # Tensors that only say where they are know no inference mode.
        with torch.no_grad():
            found = measuring.measure.__wrapped__(passes, data, Postprocess(), out=tmp_path, facts={})
    assert set(found["by_T"]) == {"1", "2", "4"} if kind == "converted" else found["images"] == len(samples)
    waits = loader.starts[-1] - loader.starts[-2]
    assert waits.total() <= VALIDATION, waits


def test_the_pretended_device_refuses_and_counts() -> None:
    with pretended() as device:
        x = torch.arange(6.0).view(2, 3).to(DEVICE)
        assert device.waits.total() == 1  # blocking, and not pinned
        with pytest.raises(NotImplementedError, match="mv_cuda"):
            x.long() @ torch.arange(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        before = device.waits.total()
        host = torch.ones(3).pin_memory().to(DEVICE, non_blocking=True)
        assert (x @ host + 1).sum().shape == ()
        assert device.waits.total() == before
        for asks in (
            lambda: bool((x > 0).any()), lambda: x.nonzero(), lambda: x[x > 0], lambda: x[[0, 1]], lambda: x.tolist(),
            lambda: x[0, 0].item(), lambda: x.new_tensor([1.0, 2]), lambda: torch.tensor([1.0], device=x.device),
        ):  # fmt: skip
            before = device.waits.total()
            asks()
            assert device.waits.total() == before + 1
