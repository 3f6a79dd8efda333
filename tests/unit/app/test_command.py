"""The console command: what it says of itself, helps with and refuses."""

from __future__ import annotations

import sys

import pytest
import yaml

import emsyolo
from emsyolo.app import doctor
from emsyolo.app.command import TASKS, TOOLS, main
from emsyolo.app.folder import conf_dir
from emsyolo.app.help import task_help


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["emsyolo", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_alone_it_says_what_it_can_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch) == 0
    said = capsys.readouterr().out
    for name in (*TASKS, *TOOLS):
        assert f"  emsyolo {name} " in said
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == emsyolo.__version__


def test_an_unknown_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "trian") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("did you mean train?\n")


@pytest.mark.parametrize("task", list(TASKS))
def test_help_names_every_key_of_the_task(task: str) -> None:
    said = task_help(task, TASKS[task], f"emsyolo {task}")
    keys = yaml.safe_load((conf_dir() / f"{task}.yaml").read_text(encoding="utf-8"))
    for key in keys.keys() - {"defaults", "hydra"}:
        assert f"  {key}=" in said or f"  {key}." in said, key
    assert f"emsyolo {task} " in said


def test_help_explains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "train", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "trainer.patience=null epochs without a better mAP after which the training ends early" in said
    assert "experiment=null" in said
    assert "ems_resnet34" in said


def test_bad_words_end_in_one_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["train", "epochs=3"], "did you mean: emsyolo train trainer.max_epochs=3\n"),
        (["train", "trainer.epochs=3"], "error: trainer.epochs: no such key; did you mean trainer.max_epochs?\n"),
        (["evaluate", "experiment=card"], "did you mean cards?\n"),
    ):
        assert called(monkeypatch, *words) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert printed.err.endswith(said)


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert f"emsyolo       {emsyolo.__version__}" in said
    assert "neuron.backend=auto" in said

    def without_tonic(name: str) -> str:
        if name == "tonic":
            raise doctor.PackageNotFoundError(name)
        return "99.0"

    monkeypatch.setattr(doctor, "version", without_tonic)
    assert doctor.main([]) == 1
    assert "tonic         missing; pip install 'tonic>=1.6'" in capsys.readouterr().out
