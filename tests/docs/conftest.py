"""One tiny training for all pages, and settings that make a command of a page cheap without changing what it does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from torchvision.io import write_png

from emsyolo.app import call, python
from emsyolo.app.command import begin

QUICK = ["pictures=false", "speed_s=0"]
SMALL = ["dataset.limit=8", "dataset.size_hw=[64,96]", "dataset.batch_size=4", "dataset.eval_batch_size=4"]
# Few images, small ones, one epoch, an eighth of the channels:
CHEAP = {
    "train": [*SMALL, "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "model.width=0.125", *QUICK],
    "evaluate": [*SMALL, *QUICK],
    "predict": [],
    "export": SMALL,
}


def cheap(task: str, words: Sequence[str]) -> list[str]:
    """What is added to the words of a command that is run, but for what they say themselves; length in any case."""
    typed = {word.partition("=")[0] for word in words} - {"trainer.max_epochs", "dataset.limit"}
    return [word for word in CHEAP[task] if word.partition("=")[0] not in typed]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photographs, a tiny training, and `PATH.safetensors`, which leads to its checkpoint."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "photos").mkdir()
    for number in range(2):
        write_png(torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8), str(folder / "photos" / f"scene{number}.png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        quicken(patch)
        metrics = call("train")
    (folder / "PATH.safetensors").symlink_to((folder / metrics["checkpoint"]).resolve())
    return folder


@pytest.fixture
def work(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder as the working directory; what `call` trains is cheap, and logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.chdir(trained)
    quicken(monkeypatch)
    yield trained
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    root.handlers[:] = handlers
    root.setLevel(level)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Let `emsyolo.app.call` compose cheap settings."""
    patch.setattr(python, "compose", cheaply(python.compose))


def cheaply(compose: Callable[..., Any]) -> Callable[..., Any]:
    """Compose a task's config with cheap settings, for what `emsyolo.app.call` runs."""

    def composed(name: str, overrides: Sequence[str], **more: Any) -> Any:
        return compose(name, overrides=[*overrides, *cheap(name, overrides)], **more)

    return composed


@pytest.fixture
def run_task(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Sequence[str]], None]:
    """`run_task("evaluate", ["T=2"])`: runs a command of a page in this process."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(task: str, words: Sequence[str]) -> None:
        words = ["checkpoint=PATH.safetensors" if word == "checkpoint=PATH" else word for word in words]
        monkeypatch.setattr(sys, "argv", ["emsyolo"])
        GlobalHydra.instance().clear()
        begin(task, [*words, *cheap(task, words)], f"emsyolo {task}", ["emsyolo"])

    return run
