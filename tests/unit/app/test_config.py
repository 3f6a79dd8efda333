"""Finding runs, and errors in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from emsyolo.app.build import plain
from emsyolo.app.config import FROM_CHECKPOINT, Asked, compose_config, overlay, with_checkpoint
from emsyolo.app.runs import log_file, newest_run, resumed_checkpoint, run_folder
from emsyolo.weights.checkpoint import Weights


def checkpoint(runs: Path, where: str, age_s: float) -> Path:
    path = runs / where
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_newest_run_of_data_set_and_model(tmp_path: Path) -> None:
    old = checkpoint(tmp_path, "digits/a/1/checkpoints/best.ckpt", 20)
    swept = checkpoint(tmp_path, "digits/b/2/7/checkpoints/best.ckpt", 10)
    checkpoint(tmp_path, "coco/a/3/checkpoints/best.ckpt", 0)
    assert newest_run(tmp_path, "digits", None, "best.ckpt") == swept
    assert newest_run(tmp_path, "digits", "a", "best.ckpt") == old
    with pytest.raises(
        FileNotFoundError, match=r"no run with dataset=voc model=a .*python train\.py dataset=voc model=a"
    ):
        newest_run(tmp_path, "voc", "a", "best.ckpt")
    with pytest.raises(
        FileNotFoundError, match=r"no run with dataset=my_photos under .*; train one or give checkpoint="
    ):
        newest_run(tmp_path, "my_photos", None, "best.ckpt")  # which is no option


def test_a_resumed_run_keeps_its_folder(tmp_path: Path) -> None:
    last = checkpoint(tmp_path, "digits/a/1/checkpoints/last.ckpt", 0)
    assert resumed_checkpoint(tmp_path, "last", "digits", "a") == last
    assert run_folder(str(tmp_path), "last", "digits", "a", "now") == str(last.parents[1])
    assert run_folder(str(tmp_path), str(last), "digits", "other", "now") == str(last.parents[1])
    assert run_folder(str(tmp_path), None, "digits", "a", "now") == str(tmp_path / "digits" / "a" / "now")


def test_of_several_processes_the_first_alone_has_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_file("train.log") == "train.log"
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    folder = Path(run_folder(str(tmp_path), None, "digits", "a", "a second later"))
    assert folder.is_dir()
    assert not folder.is_relative_to(tmp_path)
    assert run_folder(str(tmp_path), "last", "digits", "a", "now") == str(folder)
    assert log_file("train.log") == os.devnull


def asked(script: str, *overrides: str) -> Asked:
    """As a script has it."""
    cfg = compose_config(script, overrides)
    choices = {"model": "ems_small", "dataset": "digits"} | dict(one.split("=") for one in overrides if "." not in one)
    return Asked(cfg, overrides, choices, Path())


def saved(*overrides: str) -> Weights:
    """A checkpoint of a training."""
    cfg = compose_config("train", overrides)
    OmegaConf.update(cfg, "model.num_classes", 10)
    OmegaConf.update(cfg, "model.anchors", [[[1, 2]] * 3, [[3, 4]] * 3], merge=False)
    config = {"config": plain(cfg), "class_names": ["a"], "dataset": cfg.dataset.name, "model": "ems_small"}
    return Weights(Path("a.ckpt"), {}, config)


def test_what_was_typed_is_laid_over_a_checkpoint() -> None:
    weights = saved("T=6", "neuron.v_threshold=0.3", "dataset.size_hw=[64,96]", "dataset.limit=5")
    cfg = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt"), weights)
    assert (cfg.T, cfg.model.T, cfg.neuron.v_threshold, cfg.dataset.size_hw) == (6, 6, 0.3, [64, 96])
    assert (cfg.dataset.limit, cfg.model.anchors[0][0]) == (5, [1, 2])
    cfg = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt", "T=2", "neuron.decay=0.5", "dataset.limit=7"), weights)
    assert (cfg.T, cfg.neuron.v_threshold, cfg.neuron.decay, cfg.dataset.limit) == (2, 0.3, 0.5, 7)
    cfg = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt", "dataset=coco"), weights)
    assert (cfg.dataset.name, cfg.dataset.size_hw) == ("coco", [64, 96])
    # The same from the same arguments, whatever was asked for in between.
    again = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt"), weights)
    assert again == with_checkpoint(asked("evaluate", "checkpoint=a.ckpt"), weights)


def test_a_checkpoint_of_a_folder_decides_which_of_its_images_are_validated_on() -> None:
    weights = saved(
        "dataset=auto", "dataset.root=/a/b", "dataset.size_hw=[64,96]", "dataset.split_seed=5", "dataset.format=csv"
    )

    def division(*typed: str) -> tuple[object, ...]:
        dataset = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt", "dataset=auto", *typed), weights).dataset
        return dataset.split_seed, dataset.format, dataset.size_hw

    assert division("dataset.root=/a/b") == (5, "csv", [64, 96])
    assert division("dataset.root=/a/b", "dataset.split_seed=2") == (2, "csv", [64, 96])
    assert division("dataset.root=/a/c") == (0, None, [64, 96])


def test_what_an_experiment_chose_is_not_laid_over_a_run_that_goes_on() -> None:
    words = ["experiment=small_photos", "dataset=auto", "dataset.root=/a/b", "trainer.max_epochs=3"]
    begun = OmegaConf.create(plain(compose_config("train", [*words, "dataset.batch_size=2"])))
    now = compose_config("train", [*words, "trainer.max_epochs=5"])
    cfg = overlay(begun, now, [*words[:3], "trainer.max_epochs=5"], leave=("dataset",))
    assert (cfg.dataset.batch_size, cfg.dataset.name, cfg.trainer.max_epochs) == (2, "b", 5)


def test_a_protocol_comes_with_its_checkpoint() -> None:
    weights = saved("dataset=gen1_dvs", "protocol=rvt", "T=3")
    cfg = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt"), weights)
    assert (cfg.T, cfg.dataset.window_us, cfg.dataset.steps, cfg.dataset.box_filter) == (3, 50_000, 1, "prophesee")
    cfg = with_checkpoint(asked("evaluate", "dataset=gen1_dvs"), weights)
    assert (cfg.dataset.window_us, cfg.dataset.representation.micro_bins) == (50_000, 10)
    cfg = with_checkpoint(asked("evaluate", "dataset=gen1_dvs", "protocol=cordone"), weights)
    assert (cfg.T, cfg.dataset.window_us, cfg.dataset.steps) == (3, 100_000, 3)


def test_a_config_of_the_first_generation_is_understood() -> None:
    """There the protocol's values stood in the data set, and there was no conversion."""
    weights = saved("dataset=digits_dvs")
    old = weights.config["config"]
    for key in ("window_us", "steps", "representation", "size_hw", "fit", "box_filter"):
        old["dataset"][key] = old["protocol"][key]
    del old["protocol"], old["convert"], old["loss"]
    cfg = with_checkpoint(asked("evaluate", "checkpoint=a.ckpt"), weights, (*FROM_CHECKPOINT, "convert"))
    assert (cfg.T, cfg.dataset.window_us, cfg.dataset.steps, cfg.dataset.size_hw) == (3, 120_000, 3, [192, 256])
    assert not cfg.convert
