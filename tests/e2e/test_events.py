"""The scripts on event data: train, evaluate, predict along a recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_settings import Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TINY = [
    "dataset=digits_dvs",
    "dataset.limit=14",
    "dataset.size_hw=[96,128]",
    "dataset.batch_size=7",
    "dataset.eval_batch_size=7",
]


def test_train_evaluate_and_watch_a_recording(script: Run, tmp_path: Path, data_dir: Path) -> None:
    small = ["model.width=0.125", "trainer.max_epochs=2", "T=2"]
    script("train.py", *TINY, *small)
    (run,) = (tmp_path / "runs").glob("digits_dvs/ems_small/*")
    trained = json.loads((run / "metrics.json").read_text())
    assert trained["by_filter"].keys() == {"none", "prophesee", "cordone"}
    assert trained["events"]["windows"] == 14
    assert trained["events"]["rate_per_s"] > 1000
    script("evaluate.py", "dataset=digits_dvs", "dataset.limit=14", "dataset.eval_batch_size=7")
    (again,) = [p for p in (tmp_path / "runs").glob("digits_dvs/ems_small/*/metrics.json") if p.parent != run]
    evaluated = json.loads(again.read_text())
    for key in ("mAP", "mAP50", "T", "firing_rate", "by_filter", "events"):
        assert evaluated[key] == trained[key], key

    (recording,) = data_dir.glob("digits_dvs/*/test/0000_td.dat")
    best = run / "checkpoints" / "best.safetensors"
    for stateful, answers in (("false", 25), ("true", 50)):
        out = tmp_path / stateful
        said = script(
            "predict.py", f"source={recording}", f"checkpoint={best}", f"out={out}", f"stream.stateful={stateful}",
            "dataset=digits_dvs",
            "dataset.window_us=80000", "stream.start_us=0", "stream.end_us=2000000", "stream.gif_frames=3",
        ).stdout  # fmt: skip
        assert "real time" in said
        assert (out / "0000_td.gif").stat().st_size > 0
        found = json.loads((out / "predictions.json").read_text())
        assert len(found["images"]) == answers
        assert found["images"][-1]["t_us"] == 2_000_000
        assert found["speed"]["latency_ms"].keys() == {"p50", "p95"}


def test_protocols_decide_the_input(script: Run, tmp_path: Path) -> None:
    script(
        "train.py", *[one for one in TINY if "size_hw" not in one], "protocol=rvt", "T=1", "model.width=0.125",
        "trainer.max_epochs=1",
    )  # fmt: skip
    (run,) = (tmp_path / "runs").glob("digits_dvs/ems_small/*")
    assert "in_channels: 20" in (run / "config.yaml").read_text()
    script("evaluate.py", "dataset=digits_dvs", "dataset.limit=7", "dataset.eval_batch_size=7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=digits_dvs", "protocol=foo"], "protocol=foo: no such option; expected one of cordone"),
        (["protocol=ems"], "protocol= is for recordings of event cameras"),
        (["dataset=gen1_dvs"], "looked for the folder of the recordings and found none; expected FOLDER/train"),
        (["dataset=nmnist_scenes"], "looked for it and found none; expected the recordings NUMBER.bs2"),
        (["dataset=digits_dvs", "dataset.box_filter=foo"], "dataset.box_filter"),
    ],
)
def test_bad_input_is_one_line(script: Run, arguments: list[str], message: str) -> None:
    done = script("train.py", *arguments, ok=False)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
