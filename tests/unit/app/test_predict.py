"""Where predict.py's pictures go, and what of a source is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from emsyolo.app.predict import image_paths, picture_paths, samples_of, sources_of


def test_pictures_are_named_by_the_stem_or_where_that_is_not_unique_by_the_name() -> None:
    paths = [Path("in") / name for name in ("a.jpg", "b.png", "B.jpg", "c.jpeg")]
    written = picture_paths(paths, Path("out"))
    assert [path.name for path in written] == ["a.png", "b.png.png", "B.jpg.png", "c.png"]
    assert {path.parent for path in written} == {Path("out")}


def test_no_image_of_the_source_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png would overwrite an image of the source"):
        picture_paths([tmp_path / "a.png"], tmp_path)
    assert picture_paths([tmp_path / "a.jpg"], tmp_path) == [tmp_path / "a.png"]


def test_sources(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.txt", "d.bmp"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_paths(tmp_path)] == ["a.png", "b.JPG", "d.bmp"]
    assert image_paths(tmp_path / "c.txt") == [tmp_path / "c.txt"]
    with pytest.raises(FileNotFoundError, match=r"source=.*nothing: no such file or folder"):
        image_paths(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="cameras are not read"):
        image_paths(Path("0"))
    assert [path.name for path in image_paths(tmp_path / "*.*")] == ["a.png", "b.JPG", "d.bmp"]
    with pytest.raises(FileNotFoundError, match="no image fits this pattern"):
        image_paths(tmp_path / "x*.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image in this folder"):
        image_paths(tmp_path / "empty")


@pytest.mark.parametrize("value", [None, "", "  ", [], ["a.jpg", ""]])
def test_nothing_is_no_source(value: object) -> None:
    with pytest.raises(ValueError, match="expected an image, a folder of images, a video or a recording"):
        sources_of(OmegaConf.create(value) if isinstance(value, list) else value)


def test_several_sources() -> None:
    assert sources_of(OmegaConf.create(["a.jpg", "b"])) == ["a.jpg", "b"]
    assert sources_of(0) == ["0"]


def test_images_are_upright_and_bad_ones_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    (sample,) = samples_of([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert sample.frames.shape == (1, 3, 40, 30)
    assert "b.jpg cannot be read and is left out" in caplog.text


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
