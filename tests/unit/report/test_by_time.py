"""What is drawn of a converted network is what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from emsyolo.report import by_time
from emsyolo.report.by_time import error_bars, metrics_by_time

Drawn = list[Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The figures that were saved."""
    figures: Drawn = []
    save = by_time.save
    monkeypatch.setattr(by_time, "save", lambda figure, path: figures.append(figure) or save(figure, path))
    return figures


def at(score: float | None, rate: float, snn_mj: float, error: float) -> Mapping[str, Any]:
    energy = {"snn_mJ": snn_mj, "ann_mJ": 0.8}
    return {"mAP": score, "mAP50": score, "firing_rate": rate, "energy": energy, "map_error": error}


BY_TIME = {1: at(0.1, 0.2, 0.1, 0.6), 4: at(0.4, 0.15, 0.3, 0.2), 16: at(0.5, 0.1, 0.9, 0.05)}


def test_metrics_by_time(tmp_path: Path, drawn: Drawn) -> None:
    assert imread(metrics_by_time(tmp_path / "by_T.png", BY_TIME, {"mAP": 0.6, "mAP50": 0.9})).shape[1] == 13 * 120
    accuracy, rate, cost, apart = drawn[0].axes
    fifty, ann_fifty, whole, ann = ([*line.get_ydata()] for line in accuracy.lines)
    assert (fifty, whole) == ([0.1, 0.4, 0.5], [0.1, 0.4, 0.5])
    assert (set(ann_fifty), set(ann)) == ({0.9}, {0.6})
    assert [*rate.lines[0].get_ydata()] == [0.2, 0.15, 0.1]
    assert [*cost.lines[0].get_ydata()] == [0.1, 0.3, 0.9]
    assert set(cost.lines[1].get_ydata()) == {0.8}
    assert [*apart.lines[0].get_ydata()] == [0.6, 0.2, 0.05]
    # The law goes through the middle one: 0.2 at T = 4 is 0.8 / T.
    assert [*apart.lines[1].get_ydata()] == pytest.approx([0.8, 0.2, 0.05])
    assert [*apart.lines[1].get_xdata()] == [1, 4, 16]


def test_metrics_by_time_without_true_boxes(tmp_path: Path, drawn: Drawn) -> None:
    none = {t: {**one, "mAP": None, "mAP50": None} for t, one in BY_TIME.items()}
    metrics_by_time(tmp_path / "by_T.png", none, {"mAP": None, "mAP50": None})
    assert len(drawn[0].axes[0].lines) == 2  # of the spiking network, without a point; none of the ANN


def test_error_bars(tmp_path: Path, drawn: Drawn) -> None:
    shares = {"firing_rate": 0.25, "saturated": 0.125, "silent": 0.5}
    rows = [
        {"name": "a", "clipping": 0.3, "quantisation": 0.1, "unevenness": 0.2, "inherited": 0.0, **shares},
        {"name": "b", "clipping": 0.0, "quantisation": 0.4, "unevenness": 0.1, "inherited": 0.6, **shares},
    ]
    error_bars(tmp_path / "errors.png", rows, 16)
    errors, neurons = drawn[0].axes
    # Part after part, each with a bar per layer.
    assert [bar.get_width() for bar in errors.patches] == [0.3, 0.0, 0.1, 0.4, 0.2, 0.1, 0.0, 0.6]
    assert [bar.get_width() for bar in neurons.patches] == [0.25, 0.25, 0.125, 0.125, 0.5, 0.5]
    assert [label.get_text() for label in errors.get_yticklabels()] == ["a", "b"]
    (legend,) = drawn[0].legends
    names = "clipping, quantisation, unevenness, inherited, firing rate, saturated, silent"
    assert ", ".join(text.get_text() for text in legend.get_texts()) == names
