"""The twin that `twin=true` trains first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from emsyolo.app import call
from emsyolo.app.config import compose_config
from emsyolo.app.runs import run_folder
from emsyolo.app.twin import TWIN_OF, check_twin, twin_config
from emsyolo.weights.checkpoint import read_weights

SMALL = [
    "model=ems_small", "dataset.limit=2", "dataset.batch_size=2", "dataset.size_hw=[64,64]", "dataset.num_workers=0",
    "model.width=0.125", "model.depth=10", "trainer.max_epochs=1", "optimizer.warmup_epochs=0",
]  # fmt: skip


def test_the_twin_differs_by_neuron_and_steps() -> None:
    cfg = compose_config("train", ["experiment=cards", "T=4", "neuron.v_threshold=0.3", "twin=7"])
    twin = twin_config(cfg)
    assert (twin.T, twin.trainer.max_epochs, twin.twin) == (1, 7, False)
    assert twin.model.neuron._target_ == "emsyolo.neuron.relu.ReLU"
    assert (cfg.T, cfg.trainer.max_epochs) == (4, 40)
    twin.neuron, twin.T, twin.trainer.max_epochs, twin.twin = cfg.neuron, cfg.T, 40, 7
    assert twin == cfg


def test_the_twin_of_a_network_on_streams_has_its_steps() -> None:
    twin = twin_config(compose_config("train", ["dataset=digits_dvs", "model=ems_small", "twin=true", "T=5"]))
    assert (twin.T, twin.dataset.steps, twin.trainer.max_epochs) == (5, 5, 10)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["twin=0"], "expected true, false or the number of the twin's epochs"),
        (["twin=yes_please"], "expected true, false or the number"),
        (["twin=true", "weights=a.ckpt"], "twin=True and weights=a.ckpt: expected one of them"),
        (["twin=true", "teacher=a.ckpt"], "twin=True and teacher=a.ckpt: expected one of them"),
        (["twin=3", "model=ann_small"], "this network has ReLU for neurons and is an ANN already"),
        (["twin=true", "model=spiking_yolov3_fc"], "has Quantised for neurons and is an ANN already"),
    ],
)
def test_what_has_no_twin_is_refused(typed: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_twin(compose_config("train", typed))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a twin."""
    folder = tmp_path_factory.mktemp("twin")
    call("train", "speed_s=0", *SMALL, f"data_dir={folder}", f"runs_dir={folder}/runs", "twin=true")
    return next(folder.glob("runs/digits/ems_small/*"))


def test_one_run_holds_both(run: Path) -> None:
    twin, spiking = (json.loads((folder / "metrics.json").read_text()) for folder in (run / "twin", run))
    assert (twin["T"], spiking["T"]) == (1, 2)
    assert twin["firing_rate"] is None or twin["energy"]["ratio"] == pytest.approx(1)
    assert "without spikes" in (run / "twin" / "checkpoints" / "best.md").read_text()
    assert "- started from: its twin with ReLU" in (run / "checkpoints" / "best.md").read_text()
    assert yaml.safe_load((run / "config.yaml").read_text())["weights"] == str(
        run / "twin/checkpoints/best.safetensors"
    )
    last = read_weights(run / "twin" / "checkpoints" / "last.ckpt")
    assert last.config[TWIN_OF]["twin"] is True
    assert TWIN_OF not in read_weights(run / "checkpoints" / "last.ckpt").config


def test_a_run_that_broke_off_in_its_twin_goes_on_to_the_same_end(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_file(run / "checkpoints" / "best.safetensors")
    folder = run.parents[3]
    typed = [*SMALL, f"data_dir={folder}", f"runs_dir={folder}/cut"]
    with monkeypatch.context() as patch:
        patch.setattr("emsyolo.app.train._finish", _break_off)
        with pytest.raises(KeyboardInterrupt):
            call("train", "speed_s=0", *typed, "twin=true")
    caplog.set_level("INFO")
    call("train", "speed_s=0", *typed, "resume=last")
    assert "/twin/checkpoints/last.ckpt" in caplog.text
    (cut,) = folder.glob("cut/digits/ems_small/*")
    ended = load_file(cut / "checkpoints" / "best.safetensors")
    assert all(torch.equal(whole[name], ended[name]) for name in whole)
    assert run_folder(f"{folder}/cut", "last", "digits", "ems_small", "now") == str(cut)


def _break_off(*_: object) -> None:
    raise KeyboardInterrupt
