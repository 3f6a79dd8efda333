"""measure_speed with a clock that the run itself moves."""

from __future__ import annotations

import pytest
import torch

from emsyolo.evaluator.speed import measure_speed

CPU = torch.device("cpu")


class Clock:
    """Seconds; a run moves it on by the next of the given durations (ms), the last for ever."""

    def __init__(self, single_ms: list[int], batch_ms: int) -> None:
        self.now = 0.0
        self.single_ms = single_ms
        self.batch_ms = batch_ms
        self.calls: list[int] = []

    def run(self, n_images: int) -> None:
        self.calls.append(n_images)
        rest = self.single_ms.pop(0) if len(self.single_ms) > 1 else self.single_ms[0]
        self.now += (rest if n_images == 1 else self.batch_ms) / 1000

    def __call__(self) -> float:
        return self.now


def test_percentiles_and_throughput() -> None:
    clock = Clock([900, 900, *range(10, 31)], batch_ms=40)  # two slow ones to warm up; then 10, 11, ... 30
    speed = measure_speed(clock.run, batch_size=8, device=CPU, warm_up=2, max_runs=21, clock=clock)
    assert speed == {
        "latency_ms": {"p50": pytest.approx(20), "p95": pytest.approx(29)},
        "throughput": pytest.approx(200),
        "speed_of": {"batch": 8, "threads": torch.get_num_threads(), "device": "CPU"},
    }
    assert clock.calls == [1] * 23 + [8] * 23


def test_time_is_bounded() -> None:
    clock = Clock([400], batch_ms=5000)
    speed = measure_speed(clock.run, batch_size=16, device=CPU, seconds=1.0, clock=clock)
    # At 400 ms the third run is the last to start within a second; a batch takes longer than that: one run each.
    assert clock.calls == [1] * 6 + [16] * 2
    assert speed["latency_ms"]["p95"] == pytest.approx(400)
    assert speed["throughput"] == pytest.approx(3.2)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "max_runs": 0}])
def test_limits_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        measure_speed(lambda n: n, device=CPU, **wrong)
