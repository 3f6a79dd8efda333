"""Max-pooling in time."""

from __future__ import annotations

import torch
from torch import nn

from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.neuron.state import forget


def test_max_pool_of_what_has_arrived() -> None:
    torch.manual_seed(0)
    spikes = (torch.rand(50, 2, 3, 4, 6) < 0.3).float()
    pool = AccumulatedMaxPool(nn.MaxPool2d(2, 2))
    whole = pool(spikes)
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(whole.mean(dim=0), nn.functional.max_pool2d(spikes.mean(dim=0), 2))
    forget(pool)
    parts_of_it = torch.cat([pool(spikes[:20]), pool(spikes[20:])])
    assert torch.equal(parts_of_it, whole)
