"""Names of classes that a stranger chose mean nothing to a page, a card, a table or a picture."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from emsyolo.report.boxes import draw_boxes
from emsyolo.report.card import markdown_table, plain_name
from emsyolo.report.page import page
from emsyolo.report.sheet import contact_sheet
from emsyolo.report.table import metrics_table
from emsyolo.types import Detections, Targets

NAMES = [
    "<script>alert(1)</script>",
    "[bold red]x[/]",
    "[/nothing]",
    r"$\frac{",
    "|a|`b`",
    "$x$",
    "日本",
    "&amp;",
    "{{ 7 * 7 }}",
]


class Tags(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        (self.scripts if self.cdata_elem == "script" else self.text).append(data)


@pytest.fixture
def metrics() -> dict[str, Any]:
    return {
        "model": "ems_small", "dataset": NAMES[0], "images": 3, "checkpoint": f"{NAMES[0]}.ckpt", "T": 2, "mAP": 0.1,
        "mAP50": 0.2, "mAP75": 0.1, "parameters": 10, "firing_rate": 0.1, "per_class": dict.fromkeys(NAMES, 0.5),
        "layers": [], "impure": [], "energy": {"snn_mJ": 1.0, "ann_mJ": 2.0, "ratio": 0.5},
        "throughput": 3.0, "latency_ms": {"p50": 4.0, "p95": 5.0},
    }  # fmt: skip


def test_page(tmp_path: Path, metrics: dict[str, Any]) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "config.yaml").write_text(f"class_names: {json.dumps(NAMES)}")
    tags = Tags()
    tags.feed(page(tmp_path).read_text(encoding="utf-8"))
    assert "alert(1)" not in "".join(tags.scripts)
    for name in NAMES:
        assert any(name in text for text in tags.text), name


def test_tables_show_the_names_as_they_are(metrics: dict[str, Any]) -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(metrics_table(metrics))
    for name in NAMES:
        assert f"mAP of {name}" in out.getvalue(), name


def test_card_has_neither_markup_nor_further_columns() -> None:
    rows = markdown_table(("class", "mAP"), [(plain_name(name), "0.5") for name in NAMES]).splitlines()
    assert len(rows) == 2 + len(NAMES)
    for row in rows:
        assert row.replace("\\|", "").count("|") == 3
        assert "<script" not in row
    assert plain_name("[a](http://b)") == "\\[a\\](http://b)"
    assert plain_name("traffic light") == "traffic light"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_are_drawn(tmp_path: Path) -> None:
    count = len(NAMES)
    boxes = torch.tensor([[5.0, 5.0, 60.0, 40.0]]).repeat(count, 1) + 3 * torch.arange(count)[:, None]
    found = Detections(boxes, torch.linspace(0.9, 0.5, count), torch.arange(count))
    image = torch.zeros(3, 90, 120, dtype=torch.uint8)
    assert draw_boxes(image, found, NAMES).shape == (3, 450, 600)
    truth = Targets(boxes, torch.arange(count), torch.zeros(count, dtype=torch.bool))
    assert contact_sheet(tmp_path / "a.png", [image], [found], [truth], NAMES).stat().st_size > 0
