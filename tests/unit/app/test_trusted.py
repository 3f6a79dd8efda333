"""A config from a checkpoint calls only what this project's own configs call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from emsyolo.app.build import plain
from emsyolo.app.config import compose_config, saved_config
from emsyolo.app.folder import conf_dir
from emsyolo.app.trusted import TRUST, check_trusted
from emsyolo.weights.checkpoint import Weights, read_weights


def checked(config: Any) -> None:
    check_trusted(config, Path("a.ckpt"), conf_dir())


@pytest.mark.parametrize("dataset", ["digits", "coco", "digits_dvs", "gen1_dvs"])
def test_our_own_configs_pass(dataset: str) -> None:
    config = plain(compose_config("train", [f"dataset={dataset}"]))
    checked(config)
    assert config["T"] == saved_config(Weights(Path("a.ckpt"), {}, {"config": config})).T


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "emsyolo.app.run.sys.exit",
        "emsyolo.dataset.event.dat.write_dat",
        "${T}",
        3,
        None,
        ["os.system"],
    ],
)
def test_any_other_constructor_is_refused(tmp_path: Path, target: object) -> None:
    marker = tmp_path / "ran"
    hostile = {"model": {"blocks": [{"_target_": target, "_partial_": True, "_args_": [f"touch {marker}"]}]}}
    with pytest.raises(ValueError, match=r"a\.ckpt: config\.model\.blocks\[0\]\._target_ is .*which no config"):
        saved_config(Weights(Path("a.ckpt"), {}, {"config": hostile}))
    assert not marker.exists()


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${ oc.decode:1}", "a ${run_folder:x,y} b"])
def test_resolvers_are_refused_and_references_are_not(value: str) -> None:
    with pytest.raises(ValueError, match=r"config\.a is .*; expected plain values and references"):
        checked({"a": value})
    checked({"a": "${seed}", "b": "${dataset.box_filters.${dataset.box_filter}}"})


def test_a_constructor_of_ones_own_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "mine.Neuron, mine.Other")
    checked({"neuron": {"_target_": "mine.Neuron"}})
    with pytest.raises(ValueError, match=rf"set {TRUST}=mine\.Third"):
        checked({"neuron": {"_target_": "mine.Third"}})


class _Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, name: str, zipped: bool) -> None:
    marker = tmp_path / "ran"
    content = {"state_dict": {}, "hyper_parameters": _Touch(marker)}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        read_weights(tmp_path / name)
    assert not marker.exists()
