"""Work shared among torch's threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch

from emsyolo.neuron.kernels import team


@numba.njit(nogil=True)
def _count(seen: Any, by: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        seen[i] += by


@numba.njit(nogil=True)
def _count_by_all(count: int, threads: int, *arguments: Any) -> None:
    team.in_team(_count, count, threads, arguments)


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("has_team", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_everything_is_done_once(count: int, has_team: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_team and not team.HAS_TEAM:
        pytest.skip("this torch has another OpenMP than GNU's")
    monkeypatch.setattr(team, "HAS_TEAM", has_team)
    seen = np.zeros(count, dtype=np.float32)
    for _ in range(20):
        team.shared(count, 1, _count, _count_by_all, seen, np.float32(2))
    assert (seen == 40).all()


def test_little_work_is_not_shared() -> None:
    seen = np.zeros(10, dtype=np.float32)

    def fail(*arguments: Any) -> None:
        raise AssertionError

    team.shared(10, 6, _count, fail, seen, np.float32(1))
    assert seen.sum() == 10
