"""Threshold-dependent batch normalisation."""

from __future__ import annotations

import torch

from emsyolo.layer.multistep import over_time
from emsyolo.layer.tdbn import TdBN


def test_tdbn_normalises_over_time_and_starts_at_alpha_times_threshold() -> None:
    norm = TdBN(3, v_threshold=0.5, alpha=0.2)
    assert torch.equal(norm.weight, torch.full((3,), 0.1))
    x = torch.randn(4, 2, 3, 5, 6) * torch.arange(1, 5).view(4, 1, 1, 1, 1)  # every step has another spread
    y = over_time(x, norm)
    torch.testing.assert_close(y.std(dim=(0, 1, 3, 4), correction=0), torch.full((3,), 0.1), atol=1e-4, rtol=0)
    assert y[3].std() > 2 * y[0].std()
