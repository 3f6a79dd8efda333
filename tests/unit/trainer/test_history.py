"""metrics.csv after kills and new columns."""

from __future__ import annotations

import csv
from pathlib import Path

from emsyolo.trainer.history import History


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_rows_and_columns_grow(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    assert not (tmp_path / "metrics.csv").exists()
    history.log_metrics({"loss": 2.0, "epoch": 0}, 1)
    history.log_metrics({"loss": 1.5}, 2)
    history.log_metrics({"mAP": 0.5}, 2)
    assert rows(tmp_path / "metrics.csv") == [
        {"loss": "2.0", "epoch": "0.0", "step": "1"}, {"loss": "1.5", "step": "2"}, {"mAP": "0.5", "step": "2"},
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_run_goes_on_where_its_checkpoint_was_and_a_row_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("loss,step\n3.0,0\n2.0,1\n1.5,2\n1.2")
    history = History(path)
    history.keep_until(2)
    assert rows(path) == [{"loss": "3.0", "step": "0"}, {"loss": "2.0", "step": "1"}]
    history.log_metrics({"loss": 1.25}, 2)
    assert rows(path)[-1] == {"loss": "1.25", "step": "2"}
    path.write_text("")
    History(path).keep_until(5)
    History(tmp_path / "none.csv").keep_until(5)
    assert not (tmp_path / "none.csv").exists()
