from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emsyolo.dataset import pixels as pixels_module
from emsyolo.dataset import verify
from emsyolo.dataset.pixels import read_image
from emsyolo.dataset.verify import Header, examine

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def png(path: Path, *, sums: bool = True, filter_byte: int = 0, size_wh: tuple[int, int] = (4, 3)) -> Path:
    """A PNG of 4x3 px, whole or damaged in its middle."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data) if sums or kind != b"IDAT" else 0
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    rows = b"".join(bytes([filter_byte]) + RGB[y].tobytes() for y in range(3))
    header = struct.pack(">IIBBBBB", *size_wh, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def pixels(path: Path, upright: bool = False) -> np.ndarray:
    found = read_image(path, upright=upright)
    assert found.dtype == torch.uint8
    return found.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif"])
def test_formats_without_loss(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{suffix}"), RGB)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_formats_with_loss(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 24, 3), 90, dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(pixels(tmp_path / f"a.{suffix}").astype(int), flat, atol=3)


TURNED = Path(__file__).with_name("turned.heic")  # 96x64 px, to be shown turned to the right, as a phone writes it


def test_a_photograph_of_a_phone_is_upright() -> None:
    pytest.importorskip("pi_heif", reason="no reader of HEIC here")
    coarse = Image.fromarray(np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8))
    upright = np.rot90(np.asarray(coarse.resize((96, 64), Image.Resampling.BICUBIC)), -1).astype(int)
    for found in (pixels(TURNED), pixels(TURNED, upright=True)):
        assert found.shape == (96, 64, 3)
        assert np.abs(found - upright).mean() < 5
    assert examine(TURNED) == Header(96, 64)


def test_half_a_photograph_of_a_phone_is_damaged(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="no reader of HEIC here")
    half = tmp_path / "half.HEIC"
    half.write_bytes(TURNED.read_bytes()[:1600])
    with pytest.raises(ValueError, match=r"half\.HEIC: the image cannot be decoded"):
        read_image(half)
    with pytest.raises(ValueError, match="not a readable image"):  # which it says before any pixel is read
        examine(half)


def test_without_its_reader_heic_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_module, "formats", lambda: ["JPEG", "PNG"])
    monkeypatch.setattr(verify, "formats", lambda: ["JPEG", "PNG"])
    with pytest.raises(ValueError, match=r"turned\.heic: HEIC needs pip install 'emsyolo\[heic\]'$"):
        read_image(TURNED)
    with pytest.raises(ValueError, match=r"^HEIC needs pip install 'emsyolo\[heic\]'$"):
        examine(TURNED)


def test_a_photograph_is_read_once_its_reader_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="no reader of HEIC here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with monkeypatch.context() as without:
        without.setattr(pixels_module, "formats", lambda: ["JPEG", "PNG"])
        without.setattr(verify, "formats", lambda: ["JPEG", "PNG"])
        assert verify.image_headers([TURNED], "photographs") == {}
    assert verify.image_headers([TURNED], "photographs") == {TURNED: Header(96, 64)}


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    three = np.repeat(GREY[..., None], 3, axis=-1)
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(pixels(path), three)
    Image.fromarray(GREY.astype(np.uint16) * 256 + 255).save(path)  # of 16 bits the upper eight
    np.testing.assert_array_equal(pixels(path), three)
    Image.fromarray(np.dstack([RGB, GREY])).save(path)  # transparency is left out, nothing is blended
    np.testing.assert_array_equal(pixels(path), RGB)
    Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=12).save(path)
    np.testing.assert_array_equal(pixels(path), RGB)
    Image.fromarray(GREY > 100).save(path)
    np.testing.assert_array_equal(pixels(path), np.where(three > 100, 255, 0))
    Image.fromarray(GREY.astype(np.uint16) * 256).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), three)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (24, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)  # cyan left out: red
    np.testing.assert_allclose(pixels(tmp_path / "a.jpg")[8, 12].astype(int), [255, 0, 0], atol=4)


def test_of_an_animation_the_first_picture(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert pixels(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*floating-point numbers; save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_only_where_it_is_asked_to(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    np.testing.assert_array_equal(pixels(path), RGB)
    # EXIF 2.3, tag 274: where row 0 and column 0 of the stored image are seen.
    seen = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1), 6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB),
    }  # fmt: skip
    np.testing.assert_array_equal(pixels(path, upright=True), seen[orientation])


def test_a_jpeg_of_a_turned_phone_is_upright_where_it_is_asked_to(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 16), (90, 90, 90)).save(tmp_path / "a.jpg", exif=exif)
    assert pixels(tmp_path / "a.jpg").shape == (16, 24, 3)
    assert pixels(tmp_path / "a.jpg", upright=True).shape == (24, 16, 3)


@pytest.mark.parametrize("damage", [{"sums": False}, {"filter_byte": 9}, {"size_wh": (40, 90)}])
def test_a_png_damaged_in_its_middle_is_refused(tmp_path: Path, damage: dict) -> None:
    np.testing.assert_array_equal(pixels(png(tmp_path / "good.png")), RGB)
    with pytest.raises(ValueError, match=r"bad\.png: the image cannot be decoded \(.*\); replace the file or remove"):
        read_image(png(tmp_path / "bad.png", **damage))


def test_a_jpeg_damaged_in_its_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\x20"  # a marker that does not exist
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.jpg: the image cannot be decoded"):
        read_image(path)


def test_an_image_that_declares_gigapixels_takes_no_memory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: the image cannot be decoded \(Image size \(3600000000 pixels\)"):
        read_image(png(tmp_path / "a.png", size_wh=(60000, 60000)))


def test_an_image_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow hands EPS to Ghostscript, whatever the suffix says.
    tool = tmp_path / "gs"
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(ValueError, match=r"a\.jpg: the image cannot be decoded"):
        read_image(tmp_path / "a.jpg")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: no such image file"):
        read_image(tmp_path / "gone.png")
