"""Finding runs, and errors in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only

from emsyolo.app.config import log_file, newest_run, resumed_checkpoint, run_folder
from emsyolo.app.predict import image_paths
from emsyolo.app.run import message


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
        FileNotFoundError, match=r"no run on dataset=voc with model=a .*python train\.py dataset=voc model=a"
    ):
        newest_run(tmp_path, "voc", "a", "best.ckpt")


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


def test_the_innermost_error_is_said_in_one_line() -> None:
    outer = InstantiationException("Error in call to target 'x':\nValueError(...)\nfull_key: model")
    outer.__cause__ = ValueError("T is 0; expected\n  more")
    assert message(outer) == "T is 0; expected more"
    assert message(ValueError()) == "ValueError"


def test_sources_of_predict(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        image_paths(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"source=0: no such file or folder; .*cameras are not read"):
        image_paths(Path("0"))
    with pytest.raises(ValueError, match="no image in this folder"):
        image_paths(tmp_path)
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in image_paths(tmp_path)] == ["a.png", "b.JPG"]
