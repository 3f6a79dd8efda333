"""Two processes against one: statistics, gradients, loss, what is found."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from preloaded import run_in_processes
from torch import Tensor, distributed

from emsyolo.distributed import gathered, summed, world_size
from emsyolo.geometry.anchors import AnchorLayout
from emsyolo.layer.tdbn import TdBN
from emsyolo.loss.yolo import YOLOLoss
from emsyolo.types import HeadMaps, Targets

WORLD = 2


def in_two(work: Any, tmp_path: Path) -> list[Any]:
    """What `work(rank)` gives in each of two processes."""
    run_in_processes(_one, (work, tmp_path), WORLD)
    return [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


def _one(rank: int, work: Any, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=WORLD)
    torch.save(work(rank), tmp_path / f"{rank}.pt")
    distributed.destroy_process_group()


def normalise(x: Tensor, upstream: Tensor, rank: int | None) -> dict[str, Tensor]:
    torch.manual_seed(1)
    norm = TdBN(3, 0.5).train()
    norm.weight.data.uniform_(0.5, 2)
    leaf = x if rank is None else x[rank::WORLD]
    leaf = leaf.clone().requires_grad_()
    for _ in range(2):
        out = norm(leaf)
    out.backward(upstream if rank is None else upstream[rank::WORLD])
    grads = {"x": leaf.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {"out": out.detach(), **grads, **dict(norm.named_buffers())}


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, 5, 4) * 2 + 30, torch.randn(6, 3, 5, 4)


def normalise_here(rank: int) -> dict[str, Tensor]:
    return normalise(*inputs(), rank)


def test_normalisation_counts_the_samples_of_all(tmp_path: Path) -> None:
    expected = normalise(*inputs(), None)
    parts = in_two(normalise_here, tmp_path)
    for name in ("out", "x"):
        together = torch.empty_like(expected[name])
        for rank, part in enumerate(parts):
            together[rank::WORLD] = part[name]
        torch.testing.assert_close(together, expected[name], rtol=1e-4, atol=1e-5)
    for name in ("weight", "bias"):
        torch.testing.assert_close(sum(part[name] for part in parts), expected[name], rtol=1e-4, atol=1e-4)
    for part in parts:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(part[name], expected[name], rtol=1e-5, atol=1e-5)


def loss_of(images: slice, *, taught: bool) -> tuple[Tensor, Tensor]:
    """The loss of some of four images, of which one has no box, and its gradient; with a teacher or without."""
    torch.manual_seed(0)
    maps, theirs = ([torch.randn(4, 3, 8, 8, 8), torch.randn(4, 3, 4, 4, 8)] for _ in range(2))
    theirs[0][:2, ..., 4] += 2  # the teacher sees more in the images of the first process
    leaves = [one[images].clone().requires_grad_() for one in maps]
    anchors = (torch.tensor([[10.0, 14], [23, 27], [37, 58]]), torch.tensor([[81.0, 82], [60, 90], [40, 40]]))
    boxes = [[[10.0, 12, 50, 60]], [[60.0, 40, 100, 110], [5, 5, 25, 30]], [], [[30.0, 30, 90, 100]]]
    targets = [
        Targets(
            torch.tensor(b).view(-1, 4), torch.zeros(len(b), dtype=torch.int64), torch.zeros(len(b), dtype=torch.bool)
        )
        for b in boxes[images]
    ]
    own, teachers = (
        HeadMaps(tuple(one), AnchorLayout((16, 32), anchors, one[0].shape[-1] - 5))
        for one in (leaves, [one[images] for one in theirs])
    )
    loss = YOLOLoss()(own, targets, teachers if taught else None)["loss"]
    # What the trainer does: times the number of processes, of which it then takes the mean.
    (loss * world_size()).backward()
    return loss.detach(), torch.cat([leaf.grad.flatten(1) for leaf in leaves], dim=1)


def loss_here(rank: int, *, taught: bool) -> tuple[Tensor, Tensor]:
    return loss_of(slice(2 * rank, 2 * rank + 2), taught=taught)


@pytest.mark.parametrize("taught", [False, True])
def test_loss_divides_by_the_matches_and_the_teachers_certainty_of_all(tmp_path: Path, taught: bool) -> None:
    loss, gradient = loss_of(slice(0, 4), taught=taught)
    parts = in_two(partial(loss_here, taught=taught), tmp_path)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]) / WORLD, gradient, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(sum(part[0] for part in parts), loss)


def say(rank: int) -> tuple[list[int], Tensor]:
    return gathered(rank), summed(torch.tensor([rank + 1.0]))


def test_all_hear_all(tmp_path: Path) -> None:
    assert in_two(say, tmp_path) == [([0, 1], torch.tensor([3.0]))] * WORLD


def test_alone_is_the_whole_world() -> None:
    assert world_size() == 1
    assert gathered("a") == ["a"]
    assert summed(x := torch.ones(2)) is x


@pytest.mark.parametrize("counting", [True, False])
def test_recomputing_does_not_count_twice(counting: bool) -> None:
    norm = TdBN(3, 0.5).train()
    norm.counting = counting
    norm(torch.randn(2, 3, 4, 4))
    assert norm.num_batches_tracked == int(counting)
