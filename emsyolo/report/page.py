"""One HTML page of an evaluation, with its pictures inside: it opens anywhere, without a network."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from emsyolo.report.card import PACKAGES, commit
from emsyolo.report.film import Film
from emsyolo.report.gallery import Gallery
from emsyolo.report.history import METRICS, read_history
from emsyolo.report.page_table import cards, tables
from emsyolo.report.style import PALETTE
from emsyolo.report.web import LIMIT, data_uri, webp, within, written_page

# Of the images: only where the page has no gallery of them.
SHEETS = (
    ("detections.png", "Detections", "Found: solid, with class and score. True: dashed."),
    ("best.png", "The best images", "By the F1 score of the image at IoU 0.5."),
    ("worst.png", "The worst images", "By the same score; what was missed stands dashed, with nothing beside it."),
)
PICTURES = (
    ("precision_recall.png", "Precision and recall", "At IoU 0.5."),
    ("confusion.png", "Confusion", "Which class was found where which was true, at the best threshold."),
    ("by_T.png", "By time steps", "One simulation, read out at every T."),
    ("errors.png", "Where the conversion errs", "Each layer's own parts, and what it inherits."),
    ("firing_rates.png", "Firing rates", "Of what every convolution is fed with."),
)
OF_THE_TRAINING = (
    ("labels.png", "Boxes of the training set", "How many there are of each class, where, and how large."),
    ("train_batch.png", "First training batch", "As the network was shown it, with the true boxes."),
)
SPARE = 60_000  # bytes kept for what surrounds the pictures
PICTURES_SHARE = 0.3  # of the page, for plots
FILM_SHARE = 0.45  # of the rest, at most


@dataclass(frozen=True)
class Extras:
    """What a page has besides the files of an evaluation's folder.

    Attributes:
        gallery: images.
        score: precision, recall and F1 as `score_data` gives them.
        film: along a recording.
        run: folder of the training that made the weights.
        best_by: the column of its metrics by which the best epoch was chosen.
    """

    gallery: Gallery | None = None
    score: Mapping[str, Any] | None = None
    film: Film | None = None
    run: Path | None = None
    best_by: str = METRICS[0]


def page(folder: Path, extras: Extras | None = None) -> Path:
    """Write `report.html` from an evaluation's folder: `metrics.json`, `config.yaml` and the pictures that are there.

    The page stays below 3 MB: pictures are shrunk, and what has no room is named at its end.

    Args:
        folder: of the evaluation.
        extras: what else it shows; None: nothing.

    Raises:
        OSError: a file that cannot be read or written.
    """
    extras = extras or Extras()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    figures = tables(metrics)
    data: dict[str, Any] = {"palette": list(PALETTE), "score": extras.score, "training": _training(extras)}
    data |= {"gallery": None, "film": None if extras.film is None else extras.film.data()}
    left = LIMIT - SPARE - len(config) - sum(120 * len(row) for table in figures for row in table.rows)
    left -= len(json.dumps(data))
    pictures, left_out = _pictures(folder, extras, round(left * PICTURES_SHARE))
    left -= sum(len(picture["uri"]) for picture in pictures)
    if extras.gallery is not None:
        data["gallery"] = extras.gallery.data(left)
        left_out += extras.gallery.left_out
    sheets = [] if extras.gallery is None else [(sheet.key, sheet.title) for sheet in extras.gallery.sheets]
    return written_page(
        folder / "report.html",
        "page.html",
        title=f"{metrics['model']} on {metrics['dataset']}",
        facts=[f"{metrics['images']} images", metrics["checkpoint"], *made_with()],
        sections=[
            ("overview", "Overview"), *sheets,
            *([("by-score", "By score")] if data["score"] else []), *([("film", "Stream")] if data["film"] else []),
            *([("training", "Training")] if data["training"] else []), *((one.key, one.title) for one in figures),
            *((one["key"], one["title"]) for one in pictures), ("config", "Configuration"),
        ],
        values=cards(metrics),
        data=data,
        film_note="" if extras.film is None else extras.film.note,
        training_note=_training_note(data["training"]),
        tables=figures,
        pictures=pictures,
        left_out=left_out,
        config=config,
    )  # fmt: skip


def film_page(path: Path, film: Film, title: str, facts: list[str], values: list[tuple[str, str]]) -> Path:
    """Write a page of what was found along a recording.

    Args:
        path: of the page.
        film: all answers.
        title: heading.
        facts: in small print.
        values: the figures at the top, by name.

    Raises:
        OSError: the page could not be written.
    """
    data = {"palette": list(PALETTE), "score": None, "training": None, "gallery": None, "film": film.data()}
    return written_page(
        path, "film.html", title=title, facts=[*facts, *made_with()], values=values, note=film.note, data=data,
        sections=[("overview", "Overview"), ("film", "Recording")], left_out=[],
    )  # fmt: skip


def made_with() -> list[str]:
    """Date, commit and versions."""
    today = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return [today, f"commit {commit()}", f"{versions}, Python {platform.python_version()}"]


def film_limit() -> int:
    """Bytes that the pictures of a film may have on an evaluation's page."""
    return round((LIMIT - SPARE) * (1 - PICTURES_SHARE) * FILM_SHARE)


def _pictures(folder: Path, extras: Extras, limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The plots that are there as WebP, within a limit of bytes, and the names of those that have no room."""
    named = (SHEETS if extras.gallery is None else ()) + PICTURES
    files = [(folder, *words) for words in named]
    files += [] if extras.run is None else [(extras.run, *words) for words in OF_THE_TRAINING]
    found, left_out = [], []
    for where, name, title, note in files:
        path = where / name
        if not path.exists():
            continue
        with Image.open(path) as opened:
            image = within(opened.convert("RGB"), 2400)
        uri = data_uri(webp(image, 80))
        if len(uri) > limit:
            left_out.append(f"{title} ({path.name})")
            continue
        limit -= len(uri)
        size = {"width": image.width, "height": image.height}
        found.append({"key": path.stem.replace("_", "-"), "title": title, "note": note, "uri": uri, **size})
    return found, left_out


def _training(extras: Extras) -> dict[str, Any] | None:
    """The curves of the training, where its folder is there."""
    if extras.run is None or not (extras.run / "metrics.csv").is_file():
        return None
    history = read_history(extras.run / "metrics.csv")
    best = history.best(extras.best_by)

    def lines(columns: Mapping[str, Mapping[int, float]]) -> list[Any]:
        return [
            (name.removeprefix("train/").removeprefix("val/") if name != "val/loss" else name,
             [(epoch + 1, round(values[epoch], 5)) for epoch in sorted(values)])
            for name, values in columns.items()
        ]  # fmt: skip

    rates = [(name, list(zip(*points, strict=True))) for name, points in history.rates.items()]
    return {
        "metrics": lines(history.metrics),
        "losses": lines(history.losses),
        "rates": [(name, points[:: max(1, len(points) // 400)]) for name, points in rates],
        "best": None if best is None else (best[0] + 1, best[1]),
        "run": str(extras.run),
    }


def _training_note(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return ""
    best = training["best"]
    return f"Of the run {training['run']}." + ("" if best is None else f" The best epoch is {best[0]}.")
