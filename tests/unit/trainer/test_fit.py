"""Two processes against one: a training with the same global batch, and a validation."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from preloaded import run_in_processes
from torch import Tensor
from torch.optim import SGD

from emsyolo.app.build import data_of, detector_of, fit_to_data
from emsyolo.app.config import compose_config
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.optimizer.recipe import Recipe
from emsyolo.trainer.module import DetectionModule
from emsyolo.trainer.validate import Validate
from emsyolo.types import Batch, Detections

Work = Callable[[Path, int, int], dict[str, Any]]
WORLD, IMAGES, BATCH, EPOCHS = 2, 12, 4, 2
VALIDATED = 5  # in batches of two: two batches for the first process, one for the second


def config(data_dir: Path, *overrides: str) -> DictConfig:
    small = [f"data_dir={data_dir}", "dataset.size_hw=[96,128]", "dataset.num_workers=0", "model.width=0.125"]
    return compose_config("train", [*small, *overrides])


def trained(data_dir: Path, rank: int, world: int, *, model: str) -> dict[str, Tensor]:
    """The weights after a short training, in float64: in float32 a spike at its threshold may be rounded away."""
    torch.set_num_threads(1)
    lightning.seed_everything(0, verbose=False)
    cfg = config(data_dir, f"dataset.limit={IMAGES}", f"dataset.batch_size={BATCH // world}", f"model={model}")
    data = data_of(cfg)
    fit_to_data(cfg, data)
    recipe = Recipe(partial(SGD, lr=0.01, momentum=0.9), warmup_epochs=0)
    module = DetectionModule(detector_of(cfg).double(), instantiate(cfg.loss), recipe)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_epochs=EPOCHS, logger=False,
        gradient_clip_val=10.0, use_distributed_sampler=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    assert trainer.global_rank == rank
    trainer.fit(module, data.train_loader(rank=trainer.global_rank, world_size=trainer.world_size))
    assert trainer.global_step == EPOCHS * IMAGES // BATCH
    return module.detector.state_dict()


class Seen(lightning.LightningModule):
    """Sees the true boxes, but for every second image, where they are shifted by a quarter of their size."""

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Detections]]:
        found = []
        for sample, one in zip(batch.samples, batch.targets, strict=True):
            size = (one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]).repeat(1, 2)
            boxes = one.boxes_xyxy + size * (0.25 if sample.id % 2 else 0)
            found.append(Detections(boxes, torch.linspace(0.9, 0.5, len(one)) - 0.01 * sample.id, one.labels))
        return {"head_maps": found}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch


def validated(data_dir: Path, rank: int, world: int) -> dict[str, float]:
    """The figures that the trainer logs of a validation set whose parts are unequal."""
    data = data_of(config(data_dir, f"dataset.limit={VALIDATED}", "dataset.eval_batch_size=2"))
    truth = data.val.truth()
    validate = Validate(lambda: CocoEvaluator(truth, data.class_names), lambda found: found)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", logger=False, callbacks=[validate],
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    assert trainer.global_rank == rank
    loader = data.val_loader(rank=rank, world_size=trainer.world_size)
    assert len(loader) == (3 if world == 1 else 2 - rank)
    (metrics,) = trainer.validate(Seen(), loader, verbose=False)
    assert len(validate.evaluators[""].found) == VALIDATED
    return dict(metrics)


def one_of_two(rank: int, work: Work, data_dir: Path, port: int) -> None:
    """As torchrun would start it."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    torch.save(work(data_dir, rank, WORLD), data_dir / f"{rank}.pt")


def in_two(work: Work, data_dir: Path) -> list[dict[str, Any]]:
    """What both processes give."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_in_processes(one_of_two, (work, data_dir, port), WORLD)
    return [torch.load(data_dir / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ems_small", "ems_small_ilif"])
def test_two_processes_train_what_one_does(tmp_path: Path, model: str) -> None:
    expected = trained(tmp_path, 0, 1, model=model)
    for rank, found in enumerate(in_two(partial(trained, model=model), tmp_path)):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=f"rank {rank}: {name}")


@pytest.mark.slow
def test_two_processes_measure_every_image_once(tmp_path: Path) -> None:
    expected = validated(tmp_path, 0, 1)
    assert 0.1 < expected["val/mAP"] < 0.9
    assert in_two(validated, tmp_path) == [expected, expected]
