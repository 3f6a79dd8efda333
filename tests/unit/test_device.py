"""What goes to a device and comes back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emsyolo.device import Late, sent
from emsyolo.types import Batch, HeadMaps, Sample, Targets


def test_on_a_cpu_nothing_is_copied() -> None:
    x = torch.rand(3, requires_grad=True)
    assert sent(x, torch.device("cpu")) is x
    assert torch.equal(Late(x).value(), x.detach())
    assert not Late(x).value().requires_grad


def test_the_frames_of_a_batch_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda x: pinned.append(x) or x.clone())
    sample = Sample(torch.empty(0), Targets.none(), 7, "7", (4, 6))
    before, goes_on = torch.rand(1, 1, 3, 4, 6), torch.tensor([True])
    batch = Batch(torch.rand(2, 1, 3, 4, 6), (sample,), before, goes_on=goes_on, window=2)
    found = batch.pin_memory()
    assert {id(x) for x in pinned} == {id(x) for x in (batch.frames, before, goes_on)}
    assert torch.equal(found.frames, batch.frames)
    assert found.samples == batch.samples
    assert found.window == 2
    assert Batch(batch.frames, (sample,)).pin_memory().before is None
    assert len(pinned) == 4


def test_read_outs_are_joined_and_split() -> None:
    layout: object = object()
    parts = [HeadMaps((torch.rand(2, 3), torch.rand(2, 5)), layout) for _ in range(3)]  # type: ignore[arg-type]
    for mine, part in zip(HeadMaps.joined(parts).split(3), parts, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.maps, part.maps, strict=True))
