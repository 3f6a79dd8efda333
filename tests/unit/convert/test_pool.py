"""Max-pooling in time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emsyolo.convert.pool import AccumulatedMaxPool
from emsyolo.neuron.accumulate import AccumulateFire, Code, levels_of, step_weights
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


@pytest.mark.parametrize(("code", "least"), [("radix", 0), ("radix", -15), ("ternary", -40)])
def test_max_pool_of_digits_are_digits_of_the_maximum(code: Code, least: int) -> None:
    levels = levels_of(code, 4)
    numbers = torch.randint(least, levels + 1, (2, 3, 4, 6), generator=torch.Generator().manual_seed(0)).float()
    spikes = AccumulateFire(torch.ones(3), code=code, slope=0.0 if least == 0 else 0.999999)
    sent = spikes((numbers / levels).expand(4, -1, -1, -1, -1))
    pooled = AccumulatedMaxPool(nn.MaxPool2d(2, 2), code)(sent)
    assert set(pooled.unique().tolist()) <= {-1.0, 0.0, 1.0}
    found = (step_weights(code, 4).view(-1, 1, 1, 1, 1) * pooled).sum(dim=0)
    assert torch.equal(found, nn.functional.max_pool2d(numbers, 2))
