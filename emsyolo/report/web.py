"""Pages that stand alone: pictures inside, of a size that is kept, and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from torch import Tensor

from emsyolo.io import written_whole

LIMIT = 3_000_000  # bytes of a page
SCRIPTS = ("util", "chart", "boxes", "sheet", "viewer", "score", "film", "table", "start")
FEW_COLOURS = 4096
LEVELS = ((640, 80), (512, 70), (416, 60), (320, 50), (256, 40), (192, 30))  # longest side in px, quality


def data_uri(picture: bytes, kind: str = "webp") -> str:
    """A picture inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def webp(image: Image.Image, quality: int) -> bytes:
    """A picture as WebP: lossy of a quality in 0..100, or, of few colours, without loss where that is smaller."""
    lossy = _saved(image, quality=quality, method=4)
    if image.getcolors(FEW_COLOURS) is None:
        return lossy
    return min(lossy, _saved(image, lossless=True, quality=50), key=len)


def _saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="WEBP", **options)
    return file.getvalue()


def image_of(picture: Tensor) -> Image.Image:
    """Pixels `[3, H, W]` uint8 as an image."""
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy()))


def within(image: Image.Image, side: int) -> Image.Image:
    """The image, shrunk until its longer side is at most `side` px."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def fitting(images: Sequence[Image.Image], limit: int) -> tuple[list[str], int]:
    """Pictures for a page that are together within a limit, as large as that allows.

    Args:
        images: in the order in which they matter.
        limit: bytes of all together, as they stand in the page.

    Returns:
        Data URIs of the first of them, which may be fewer, and the longest side that they were shrunk to, px.
    """
    uris: list[str] = []
    for side, quality in LEVELS:
        uris = [data_uri(webp(within(image, side), quality)) for image in images]
        if sum(map(len, uris)) <= limit:
            return uris, side
    while uris and sum(map(len, uris)) > limit:
        uris.pop()
    return uris, LEVELS[-1][0]


def written_page(path: Path, template: str, **values: Any) -> Path:
    """Write a page from a template of this folder; everything that is filled in is escaped.

    Args:
        path: of the page.
        template: a file name.
        values: what it asks for.

    Raises:
        OSError: the page could not be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emsyolo.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template(template).render(scripts=[f"{name}.js" for name in SCRIPTS], **values)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
