"""What accuracy costs: the picture of a sweep over conversions and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from emsyolo.report.price import accuracy_by_price, has_prices


def run(rule: str, steps: int, latency: int, mean: float | None) -> dict[str, Any]:
    return {"convert": rule, "T": steps, "latency_steps": latency, "energy_mJ": 0.1 * steps, "mAP": mean}


ROWS = [run("plain", 4, 4, 0.2), run("plain", 8, 8, 0.5), run("radix", 4, 68, 0.8), run("radix", 8, 136, None)]


def test_a_line_for_each_way(tmp_path: Path) -> None:
    assert has_prices(ROWS)
    picture = imread(accuracy_by_price(tmp_path / "prices.png", ROWS, ["convert", "T"]))
    assert picture.shape[1] > picture.shape[0] > 300
    accuracy_by_price(tmp_path / "steps.png", ROWS[:2], ["T"])  # one way, without a name
    assert (tmp_path / "steps.png").stat().st_size > 0


def test_runs_that_cost_the_same_have_no_such_picture(tmp_path: Path) -> None:
    assert not has_prices(ROWS[:1])
    assert not has_prices([{"mAP": 0.1}, {"mAP": 0.2}])
    with pytest.raises(ValueError, match="the sweep has 0 runs"):
        accuracy_by_price(tmp_path / "prices.png", [], ["T"])
