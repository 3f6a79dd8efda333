"""A page of made-up figures, such as an evaluation writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from emsyolo.report.film import Film
from emsyolo.report.gallery import Gallery, Sheet, Tile
from emsyolo.report.page import Extras
from emsyolo.report.style import new_figure, save
from emsyolo.types import Detections, Targets

NAMES = ["<script>alert(1)</script>", "cat", "a&b"]
DEEP = "backbone.stages.2.1.residual.3.of_a_long_name.neuron"
METRICS: dict[str, Any] = {
    "model": "ems_small", "dataset": "a<b", "images": 3, "checkpoint": "runs/best.ckpt", "T": 3, "mAP": 0.5,
    "mAP50": 0.75, "firing_rate": 0.1, "energy": {"snn_mJ": 0.2, "ann_mJ": 1.0, "ratio": 0.2},
    "impure": [{"name": "stem", "macs": 1e6}],
    "layers": [
        {"name": "backbone.stages.0.0.residual.1", "binary": False, "firing_rate": 1.0, "macs": 1e6, "synops": 1e6},
        {"name": "backbone.stages.0.0.residual.4", "binary": True, "firing_rate": 0.1, "macs": 3e6, "synops": 3e5},
        {"name": "neck", "binary": True, "firing_rate": 0.02, "macs": 2e8, "synops": 4e6},
    ],
    "latency_ms": {"p50": 20.0, "p95": 30.0}, "throughput": 50.0, "parameters": 1000,
    "per_class": {NAMES[0]: 0.4, "cat": 0.6, "a&b": None},
}  # fmt: skip


def found(count: int) -> Detections:
    """Boxes of rising x; scores 0.9, 0.7, ..."""
    corner = torch.tensor([[10.0, 20.0, 40.0, 60.0]]) + 20 * torch.arange(count)[:, None] * torch.tensor([1, 0, 1, 0])
    return Detections(corner, 0.9 - 0.2 * torch.arange(count), torch.arange(count) % 3)


def truth() -> Targets:
    return Targets(torch.tensor([[10.0, 20, 40, 60]]), torch.tensor([0]), torch.tensor([False]))


def gallery(count: int = 3, stops: int = 3, side: int = 96) -> Gallery:
    """Images on which one box more is found after every step, and where the second layer fires more and more."""
    generator = torch.Generator().manual_seed(0)
    tiles = {
        i: Tile(
            f"{i} <b>.png",
            [torch.randint(0, 256, (3, side, side * 4 // 3), dtype=torch.uint8, generator=generator)],
            truth(),
            [found(stop + 1) for stop in range(stops)],
            [
                {"all layers": torch.full((12, 16), 0.1), DEEP: torch.full((12, 16), 0.1 * stop)}
                for stop in range(stops)
            ],
        )
        for i in range(count)
    }
    sheets = [
        Sheet("detections", "Detections", "Some images.", [(i, "") for i in range(count)]),
        Sheet("worst", "The worst images", "By F1.", [(0, "F1 0.10")]),
    ]
    return Gallery([str(stop + 1) for stop in range(stops)], tiles, sheets, NAMES, 0.3)


def film(answers: int = 5) -> Film:
    made = Film("a.dat", answers, 50_000, (60, 80), NAMES, 0.3)
    for i in range(answers):
        shade = torch.full((3, 60, 80), 40 * (i % 6), dtype=torch.uint8)
        made.add(50_000 * (i + 1), shade, found(i % 4), 100 * i, truth() if i == 2 else None)
    return made


def extras(folder: Path, **more: Any) -> Extras:
    """The rest of a page, with a training in a folder of it."""
    run = folder / "a_run_of_a_name_that_is_longer_than_any_phone_is_wide"
    run.mkdir(exist_ok=True)
    (run / "metrics.csv").write_text(
        "epoch,step,lr-AdamW,train/loss,val/mAP\n,4,0.2,,\n0,9,,3.0,0.1\n,14,0.1,,\n1,19,,2.0,0.4\n2,29,,1.5,0.3\n"
    )
    curve = {"at": [0.0, 0.5, 1.0], "right": [4, 3, 0], "wrong": [4, 1, 0], "true": 5, "best": 0.5, "f1": 2 / 3}
    return Extras(gallery=gallery(), score=curve, film=film(), run=run, **more)


def files(folder: Path, **more: object) -> Path:
    """What an evaluation leaves in its folder."""
    (folder / "metrics.json").write_text(json.dumps({**METRICS, **more}))
    (folder / "config.yaml").write_text("T: 3\n")
    save(new_figure(9, 7), folder / "confusion.png")
    return folder
