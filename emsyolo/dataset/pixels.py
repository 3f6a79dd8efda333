"""The one way from an image file to pixels: for training, evaluation and prediction."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file

# What is opened as an image, whatever its suffix says. Not all that Pillow knows: EPS, for one, starts a program.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "HEIF")
HEIC = (".heic", ".heif")
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm",
    *HEIC,
)  # fmt: skip
MAX_PIXELS = 178_956_970  # Pillow's own limit: an image that declares more is refused before memory is taken
ORIENTATION = 0x0112  # of EXIF
# Of a damaged TIFF Pillow tells in several lines what it skips; here a file is either whole or named.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@cache
def formats() -> list[str]:
    """Those of `FORMATS` that this Pillow reads; HEIF with one of its plugins."""
    Image.init()
    for plugin in ("pi_heif", "pillow_heif"):
        with suppress(ImportError):
            import_module(plugin).register_heif_opener()
            break
    return [kind for kind in FORMATS if kind in Image.OPEN]


def missing_reader(path: Path) -> str | None:
    """What is to be installed before an image can be read; None: nothing is known to be missing."""
    lacks = path.suffix.lower() in HEIC and "HEIF" not in formats()
    return "HEIC needs pip install 'emsyolo[heic]'" if lacks else None


def read_image(path: Path, *, upright: bool = False) -> Tensor:
    """The pixels `[3, H, W]` uint8, RGB, of an image of 8 or 16 bits.

    Of an animation the first picture; transparency is left out; of 16 bits the upper eight. HEIC is upright always.

    Args:
        path: of the file, a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, PPM or HEIC.
        upright: turn the image as its EXIF orientation says. Boxes of annotated sets are of the stored pixels.

    Raises:
        ValueError: the file is missing, damaged or no such image; names it.
    """
    try:
        with Image.open(path, formats=formats()) as image:
            turned = upright and orientation_of(image) != 1
            if image.format == "JPEG" and image.mode in ("L", "RGB") and not turned:
                # The same bits as Pillow's in half the time. Not for PNG, where damaged data end the whole process.
                with suppress(RuntimeError):
                    return decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
            check_sums(image, path)
            return pixels_of(ImageOps.exif_transpose(image) if turned else image)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such image file") from error
    except Exception as error:  # a decoder that meets damaged data may raise anything
        if lacking := missing_reader(path):
            raise ValueError(f"{path}: {lacking}") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), path.name)
        raise ValueError(f"{path}: the image cannot be decoded ({reason}); replace the file or remove it") from error


def check_sums(image: Image.Image, path: Path) -> None:
    """Compare the check sums of a PNG with its data, which decoding it does not.

    Raises:
        SyntaxError: Pillow's, where one differs; what decodes then is not what was saved.
    """
    if image.format == "PNG":
        with Image.open(path, formats=["PNG"]) as other:  # an image that was verified cannot be decoded any more
            other.verify()


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of an opened image, 1 to 8; 1 (upright) if it has none or a damaged one."""
    # Reading it takes longer than opening the file. Of a TIFF, Pillow turns the pixels itself, always.
    if not image.info.get("exif"):
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block may raise anything, and the pixels are whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def pixels_of(image: Image.Image) -> Tensor:
    """The pixels `[3, H, W]` uint8, RGB, of an opened image.

    Raises:
        ValueError: pixels that are floating-point numbers.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # a single channel of more than 8 bits
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    rgb = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
