from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from emsyolo.dataset.verify import Header, image_headers


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
