"""What a training can go on from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from emsyolo.trainer.fit import make_trainer
from emsyolo.types import HeadMaps

FIGURE = 0.25


class Small(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.detector = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return cast(torch.Tensor, self.detector(batch)).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        nothing = HeadMaps((), cast(Any, None))
        return {"head_maps": nothing, "carried_head_maps": nothing}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def evaluator() -> Any:
    return SimpleNamespace(
        update=lambda found, samples: None,
        gather=lambda: None,
        compute=lambda: dict.fromkeys(("mAP", "mAP50", "mAP75"), FIGURE),
    )


@pytest.mark.parametrize("best_by", ["mAP", "carried_mAP"])
def test_the_last_checkpoint_of_an_epoch_knows_the_best(best_by: str, tmp_path: Path) -> None:
    """Otherwise a training that goes on from it takes a worse one for the best."""
    trainer = make_trainer(
        run_dir=tmp_path, hyperparameters={}, evaluator=evaluator, postprocess=cast(Any, lambda maps: []), max_epochs=1,
        accelerator="cpu", precision="32-true", ema_decay=None, carried=True, best_by=best_by,
    )  # fmt: skip
    windows = DataLoader(cast(Any, [SimpleNamespace(samples=[])]), batch_size=None)
    trainer.fit(Small(), DataLoader(cast(Any, torch.ones(2, 1))), windows)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (best,) = [one for name, one in state["callbacks"].items() if name.startswith("ModelCheckpoint")]
    assert (best["monitor"], best["best_model_score"]) == (f"val/{best_by}", FIGURE)
