"""A spiking network that starts from its ANN twin and learns from it; the card beside its weights; early answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_settings import TINY, Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def newest(runs: Path, pattern: str) -> Path:
    return max(runs.glob(pattern), key=lambda path: path.stat().st_mtime)


def test_from_the_twin_to_the_card(script: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script("train.py", "model=ann_small", *TINY, "trainer.max_epochs=1")
    twin = newest(runs, "digits/ann_small/*/checkpoints/best.safetensors")
    card = twin.with_suffix(".md").read_text()
    assert "An object detector without spikes in `best.safetensors`" in card

    said = script(
        "train.py",
        *TINY,
        "T=2",
        "trainer.max_epochs=1",
        f"weights={twin}",
        f"teacher={twin}",
        "seed=1",
        "trainer.log_every_n_steps=1",
    ).stdout
    assert "(model ann_small); 10 of 10 classes by name\n" in said
    assert "normalisations times 0.5 (threshold 0.5 here, 1 there)" in said
    run = newest(runs, "digits/ems_small/*")
    assert "train/distillation" in (run / "metrics.csv").read_text().splitlines()[0]
    card = (run / "checkpoints" / "best.md").read_text()
    for text in ("# ems_small on digits", "- licence of the data: CC BY 4.0", "- seed: 1", f"- teacher: {twin}",
                 "| T | mAP@0.5 | mAP@0.5:0.95 |", "- spike purity: ", "- commit: "):  # fmt: skip
        assert text in card, text
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics["by_T"]) == ["1", "2"]
    assert metrics["by_T"]["2"]["mAP"] == metrics["mAP"]

    shared = run / "checkpoints" / "best.safetensors"
    script("evaluate.py", f"checkpoint={shared}", "T=3", "read_out=[1]", "dataset.limit=24", "report=true")
    pass_of_all = newest(runs, "digits/ems_small/*/report.html").parent
    script("evaluate.py", f"checkpoint={shared}", "T=1", "dataset.limit=24")
    alone = json.loads(newest(runs, "digits/ems_small/*/metrics.json").read_text())
    readouts = json.loads((pass_of_all / "metrics.json").read_text())["by_T"]
    assert list(readouts) == ["1", "3"]
    for key in ("mAP", "mAP50", "mAP75", "latency_steps", "firing_rate", "spikes_per_image", "energy"):
        assert readouts["1"].pop(key) == pytest.approx(alone[key], rel=1e-6), key
    assert not readouts["1"]
    assert (pass_of_all / "by_T.png").stat().st_size > 0

    other = "model.anchors=[[[9,9],[8,8],[7,7]],[[20,20],[30,30],[40,40]]]"
    failed = script("train.py", *TINY, f"teacher={twin}", other, ok=False)
    assert failed.returncode == 1
    assert "has other anchors; type model.anchors=[[[" in failed.stdout + failed.stderr
