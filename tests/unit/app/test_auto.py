"""`dataset=auto` through the tasks: a folder of photographs is trained on, and its checkpoint knows it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from emsyolo.app import call
from emsyolo.app.build import data_of, plain
from emsyolo.app.config import Asked, compose_config, with_checkpoint
from emsyolo.app.folder import folder_name
from emsyolo.weights.checkpoint import read_weights

TINY = [
    "model=ems_small", "model.width=0.125", "T=1", "dataset.num_workers=0", "dataset.batch_size=2",
    "trainer.max_epochs=1", "optimizer.warmup_epochs=0", "dataset.augment.mosaic=null",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of 48 x 90 px (height x width) with a box each, as the CSV of TensorFlow's tutorials."""
    folder = tmp_path_factory.mktemp("data") / "my photos, 2024"
    (folder / "images").mkdir(parents=True)
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 80, (48, 90, 3), dtype=np.uint8)
        pixels[10:34, 5 + 6 * i : 30 + 6 * i] = 220
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,90,48,{'cat' if i % 2 else 'dog'},{5 + 6 * i},10,{30 + 6 * i},34")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(root: Path, runs: Path) -> Path:
    """A checkpoint of an epoch, divided by a seed that is not the default."""
    typed = ["dataset=auto", f"dataset.root='{root}'", "dataset.size_hw=[64,96]", "dataset.split_seed=3"]
    return Path(str(call("train", "speed_s=0", *typed, *TINY, f"runs_dir={runs}")["checkpoint"]))


def test_a_run_is_called_after_its_folder_and_states_no_licence(runs: Path, trained: Path) -> None:
    assert trained.is_relative_to(runs / "my_photos_2024" / "ems_small")
    card = trained.with_suffix(".md").read_text()
    assert "# ems_small on my_photos_2024" in card
    assert "licence of the data: not stated" in card
    assert "classes: 2: cat, dog" in card


def test_it_is_evaluated_on_its_own_folder_and_its_own_division(root: Path, runs: Path, trained: Path) -> None:
    config = read_weights(trained).config
    assert config["class_names"] == ["cat", "dog"]
    assert (config["config"]["dataset"]["name"], config["dataset"]) == ("my_photos_2024", "my_photos_2024")
    measured = json.loads((trained.parents[1] / "metrics.json").read_text())
    # The newest run on the folder, which was divided by another seed than is typed here.
    found = call(
        "evaluate", "speed_s=0", "dataset=auto", f"dataset.root='{root}'", "dataset.num_workers=0", f"runs_dir={runs}"
    )
    assert Path(str(found["checkpoint"])).with_suffix("") == trained.with_suffix("")
    assert (found["images"], found["dataset"]) == (measured["images"], "my_photos_2024")
    assert found["mAP"] == pytest.approx(measured["mAP"], abs=1e-6)


def test_a_checkpoint_predicts_in_photographs(root: Path, tmp_path: Path, trained: Path) -> None:
    call("predict", f"checkpoint={trained}", f"source='{root / 'images'}'", f"out={tmp_path}")
    assert len(json.loads((tmp_path / "predictions.json").read_text())["images"]) == 10


def test_without_a_data_set_it_is_its_own_and_another_can_be_typed(root: Path, tmp_path: Path, trained: Path) -> None:
    def data(*typed: str) -> tuple[str, int]:
        words = (f"checkpoint={trained}", *typed)
        cfg = with_checkpoint(
            Asked(compose_config("evaluate", words), words, {"dataset": "auto"}, tmp_path), read_weights(trained)
        )
        opened = data_of(cfg)
        assert (opened.size_hw, opened.class_names) == ((64, 96), ("cat", "dog"))
        return opened.name, len(opened.val)

    for i in (0, 1, 2):
        (tmp_path / f"{i}.png").write_bytes((root / "images" / f"{i}.png").read_bytes())
    (tmp_path / "boxes.csv").write_text("0.png,5,10,30,34,dog\n1.png,11,10,36,34,cat\n2.png,17,10,42,34,dog\n")
    measured = json.loads((trained.parents[1] / "metrics.json").read_text())
    assert data() == ("my_photos_2024", measured["images"])
    assert data("dataset=auto", f"dataset.root={tmp_path}", "dataset.val_share=1") == (folder_name(tmp_path), 3)


def test_a_run_that_goes_on_keeps_what_it_was_begun_with(
    root: Path, runs: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ["experiment=small_photos", "dataset=auto", f"dataset.root='{root}'"]  # which data=FOLDER stands for
    with caplog.at_level(logging.INFO):
        call(
            "train", "speed_s=0", *folder, "model=ems_small", "resume=last", "trainer.max_epochs=1", f"runs_dir={runs}"
        )
    config = OmegaConf.load(trained.parents[1] / "config.yaml")
    assert (config.dataset.size_hw, config.dataset.split_seed, config.dataset.batch_size) == ([64, 96], 3, 2)


def test_the_size_is_that_of_the_images_and_everything_is_plain_then(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config("train", ["dataset=auto", f"dataset.root='{root}'"])
    with caplog.at_level(logging.INFO):
        data = data_of(cfg)
        assert len(data.train) + len(data.val) == 10
    assert cfg.dataset.size_hw == list(data.size_hw) == [160, 320]  # 48 / 90 of 320 is 171
    assert list(data.augment[0].size_hw) == [160, 320]  # mosaic's
    stored = plain(cfg)["dataset"]
    assert (stored["name"], stored["size_hw"]) == ("my_photos_2024", [160, 320])
    said = [message for message in caplog.messages if message.startswith("my photos, 2024: ")]
    assert len(said) == 2  # once for both sets


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/raccoon_dataset", "raccoon_dataset"),
        ("/data/raccoon_dataset/", "raccoon_dataset"),
        ("/data/my photos (2024)/.", "my_photos_2024"),
        ("/data/фото", "фото"),
        ("/data/a[1]*{b}", "a_1_b"),
        ("/data/.hidden", "hidden"),
        ("relative/v1.2", "v1.2"),
        (2024, "2024"),
        ("/", "data"),
    ],
)
def test_names_of_folders(path: object, name: str) -> None:
    assert folder_name(path) == name


def test_a_folder_named_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pets" / "images")
    assert (folder_name("."), folder_name("..")) == ("images", "pets")
