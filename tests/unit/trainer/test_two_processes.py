"""Training in two processes against one process with the same global batch."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import lightning
import pytest
import torch
import torch.multiprocessing
from torch import Tensor
from torch.optim import SGD

from emsyolo.app.build import data_of, detector_of, fit_to_data
from emsyolo.app.config import compose_config
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.optimizer.recipe import Recipe
from emsyolo.trainer.module import DetectionModule

WORLD, IMAGES, BATCH, EPOCHS = 2, 12, 4, 2


def trained(data_dir: Path, rank: int, world: int) -> dict[str, Tensor]:
    """The weights after a short training in float32."""
    torch.set_num_threads(1)
    lightning.seed_everything(0, verbose=False)
    overrides = [
        f"dataset.limit={IMAGES}", f"dataset.batch_size={BATCH // world}", "dataset.size_hw=[96,128]",
        f"data_dir={data_dir}", "dataset.num_workers=0", "model.width=0.125",
    ]  # fmt: skip
    cfg = compose_config("train", overrides)
    data = data_of(cfg)
    fit_to_data(cfg, data)
    recipe = Recipe(partial(SGD, lr=0.01, momentum=0.9), warmup_epochs=0)
    module = DetectionModule(detector_of(cfg), YOLOLoss(), recipe)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_epochs=EPOCHS, logger=False,
        gradient_clip_val=10.0, use_distributed_sampler=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    assert trainer.global_rank == rank
    trainer.fit(module, data.train_loader(rank=trainer.global_rank, world_size=trainer.world_size))
    assert trainer.global_step == EPOCHS * IMAGES // BATCH
    return module.detector.state_dict()


def one_of_two(rank: int, data_dir: Path, port: int) -> None:
    """As torchrun would start it."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    torch.save(trained(data_dir, rank, WORLD), data_dir / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    expected = trained(tmp_path, 0, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, args=(tmp_path, port), nprocs=WORLD)
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=f"rank {rank}: {name}")
