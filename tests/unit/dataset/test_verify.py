from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emsyolo.dataset.verify import Header, examine, image_headers


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp"])
def test_whole_images_give_height_and_width(tmp_path: Path, picture: Callable[..., Path], suffix: str) -> None:
    path = picture(tmp_path / f"a.{suffix}", (30, 40))
    assert image_headers([path], "tiny") == {path: Header(30, 40)}


def test_bad_images_are_left_out_with_one_warning(
    tmp_path: Path, picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    good = picture(tmp_path / "good.jpg")
    cut_jpg, cut_png = picture(tmp_path / "cut.jpg"), picture(tmp_path / "cut.png")
    for path in (cut_jpg, cut_png):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    paths = [good, cut_jpg, cut_png, tmp_path / "text.png", tmp_path / "empty.jpg", tmp_path / "gone.jpg"]
    with caplog.at_level(logging.WARNING):
        assert list(image_headers(paths, "tiny")) == [good]
    (message,) = caplog.messages
    assert message == (
        "tiny: 5 of 6 images left out: cut.jpg (cut off or damaged), cut.png (cut off or damaged), text.png (not a "
        "readable image), empty.jpg (not a readable image), gone.jpg (missing)"
    )


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path, picture: Callable[..., Path]) -> None:
    path = picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(100))
    assert image_headers([path], "tiny") == {path: Header(30, 40)}


def photograph(path: Path) -> bytes:
    """Soft noise, which takes a few thousand bytes."""
    small = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + b"\xff\xd9",  # with an end, as a whole file has
        lambda data: data[:5000] + bytes(range(1, 200)) + data[5199:],
        lambda data: data[:5000] + data[5600:],
        lambda data: data[:5000] + b"\xff\x20" + data[5002:],
    ],
)
def test_jpegs_that_a_decoder_only_warns_of_are_damaged(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    data = photograph(tmp_path / "a.jpg")
    assert examine(tmp_path / "a.jpg").size_hw == (240, 320)
    (tmp_path / "a.jpg").write_bytes(damage(data))
    with pytest.raises(ValueError, match="cut off or damaged"):
        examine(tmp_path / "a.jpg")


def test_bytes_that_do_no_harm(tmp_path: Path) -> None:
    data = photograph(tmp_path / "a.jpg")
    assert data.endswith(b"\xff\xd9")
    for harmless in (data[:-2] + b"\0\0\xff\xd9", data + b"after the end"):
        (tmp_path / "a.jpg").write_bytes(harmless)
        assert examine(tmp_path / "a.jpg").size_hw == (240, 320)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (40, 30)).save(tmp_path / "a.jpg")
    assert examine(tmp_path / "a.jpg").size_hw == (30, 40)
