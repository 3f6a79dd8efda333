"""The moving average of weights by hand."""

from __future__ import annotations

import math

import lightning
import pytest
import torch

from emsyolo.layer.tdbn import TdBN
from emsyolo.trainer.ema import Averaging, ema_average


def test_decay_rises_as_in_yolov5() -> None:
    update = ema_average(decay=0.9, steps=10.0)
    for count in (1, 10, 1000):
        averaged, current = [torch.tensor([1.0])], [torch.tensor([3.0])]
        update(averaged, current, torch.tensor(count))
        decay = 0.9 * (1 - math.exp(-count / 10))
        assert averaged[0].item() == pytest.approx(decay * 1 + (1 - decay) * 3)


def test_counters_are_copied() -> None:
    averaged, current = [torch.tensor([2])], [torch.tensor([7])]
    ema_average(decay=0.9, steps=10.0)(averaged, current, torch.tensor(1))
    assert averaged[0].item() == 7


class Network(lightning.LightningModule):
    """A normalisation of the batch, as a detector."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = TdBN(1, v_threshold=1.0)

    def maps(self, batch: torch.Tensor) -> torch.Tensor:
        return self.detector(batch)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.maps(batch).square().mean()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.seen = self.detector.running_mean.item()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize(("given", "seen"), [([], 0.1 * 3.0), ([4.0, 6.0], 5.0)])
def test_statistics_of_averaged_weights_are_measured(given: list[float], seen: float) -> None:
    """Without batches they are averages of the running ones, of which one step is a tenth of the batch's."""
    network, frames = Network(), torch.full((2, 1, 2, 2), 3.0)
    averaging = Averaging(0.0, 1.0, lambda: [torch.full((2, 1, 2, 2), value) for value in given])
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[averaging], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader([frames], batch_size=None)
    trainer.fit(network, loader, loader)
    assert network.seen == pytest.approx(seen)
    assert network.detector.training
