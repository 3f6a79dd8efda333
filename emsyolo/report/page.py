"""One HTML page of an evaluation, with its pictures inside: it opens anywhere, without a network."""

from __future__ import annotations

import base64
import json
import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from emsyolo.io import written_whole
from emsyolo.report.table import NOTHING, count, decimal, percent

PICTURES = (
    ("detections.png", "Detections", "Found: solid, with class and score. True: dashed."),
    ("best.png", "The best images", "By the F1 score of the image at IoU 0.5."),
    ("worst.png", "The worst images", "By the same score; what was missed stands dashed, with nothing beside it."),
    ("precision_recall.png", "Precision and recall", "At IoU 0.5."),
    ("by_T.png", "By time steps", "One simulation, read out at every T."),
    ("errors.png", "Where the conversion errs", "Each layer's own parts, and what it inherits."),
    ("firing_rates.png", "Firing rates", "Of what every convolution is fed with."),
)
PACKAGES = ("emsyolo", "torch", "spikingjelly")


def page(folder: Path) -> Path:
    """Write `report.html` from an evaluation's folder: `metrics.json`, `config.yaml` and the pictures that are there.

    Raises:
        OSError: a file that cannot be read or written.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    pictures = [
        (heading, note, base64.b64encode((folder / name).read_bytes()).decode())
        for name, heading, note in PICTURES
        if (folder / name).exists()
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("emsyolo.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    text = template.render(
        title=f"{metrics['model']} on {metrics['dataset']}",
        facts=f"{metrics['images']} images; {metrics['checkpoint']}; {versions}; Python {platform.python_version()}",
        cards=_cards(metrics),
        pictures=pictures,
        tables=_tables(metrics),
        config=(folder / "config.yaml").read_text(encoding="utf-8"),
    )
    with written_whole(folder / "report.html") as path:
        path.write_text(text, encoding="utf-8")
    return folder / "report.html"


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _cards(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    energy = metrics["energy"]
    impure = sum(layer["macs"] for layer in metrics["impure"]) / max(
        1, sum(layer["macs"] for layer in metrics["layers"])
    )
    return [
        ("mAP@0.5", _score(metrics["mAP50"])),
        ("mAP@0.5:0.95", _score(metrics["mAP"])),
        ("time steps", str(metrics["T"])),
        ("firing rate", percent(metrics["firing_rate"])),
        ("energy per image, mJ", decimal(energy["snn_mJ"])),
        ("the same as an ANN, mJ", decimal(energy["ann_mJ"])),
        ("of the ANN's energy", percent(energy["ratio"])),
        ("of all MACs not fed with spikes", percent(impure)),
        ("latency p50, ms", f"{metrics['latency_ms']['p50']:.1f}"),
        ("images/s", f"{metrics['throughput']:.1f}"),
        ("parameters", count(metrics["parameters"])),
        *_events(metrics.get("events")),
    ]


def _events(events: dict[str, Any] | None) -> list[tuple[str, str]]:
    if events is None:
        return []
    empty = f"{events['empty_windows']} of {events['windows']}"
    return [("events per second", count(events["rate_per_s"])), ("empty windows", empty)]


def _tables(metrics: dict[str, Any]) -> list[tuple[str, str, list[str], list[list[str]]]]:
    found = []
    if "by_T" in metrics:
        columns = ["T", "mAP@0.5", "mAP"]
        rows = [[t, _score(row["mAP50"]), _score(row["mAP"])] for t, row in metrics["by_T"].items()]
        if "ann" in metrics:  # a converted network, of which every T has its own activity
            columns += ["firing rate", "energy, mJ", "of the ANN's"]
            for row, one in zip(rows, metrics["by_T"].values(), strict=True):
                cost = one["energy"]
                row += [percent(one["firing_rate"]), decimal(cost["snn_mJ"]), percent(cost["ratio"])]
            scores = [_score(metrics["ann"][key]) for key in ("mAP50", "mAP")]
            rows.append(["ANN", *scores, NOTHING, decimal(metrics["energy"]["ann_mJ"]), percent(1)])
        found.append(("By time steps, in figures", "", columns, rows))
    if "by_filter" in metrics:
        rows = [
            [name, str(one["images"]), _score(one["mAP50"]), _score(one["mAP"])]
            for name, one in metrics["by_filter"].items()
        ]
        note = "The same detections, counted with the boxes that each filter leaves."
        found.append(("By filter of boxes", note, ["filter", "images", "mAP@0.5", "mAP"], rows))
    worst_first = sorted(metrics["per_class"].items(), key=lambda item: (item[1] is None, item[1]))
    note = "mAP at IoU 0.5 to 0.95, the worst first."
    found.append(("Classes", note, ["class", "mAP"], [[name, _score(value)] for name, value in worst_first]))
    layers = [
        [layer["name"], "spikes" if layer["binary"] else "numbers", percent(layer["firing_rate"]), count(layer["macs"]),
         count(layer["synops"])]
        for layer in metrics["layers"]
    ]  # fmt: skip
    note = (
        f"{len(metrics['impure'])} of {len(layers)} are fed by something other than 0 and 1. Operations are per image."
    )
    columns = ["convolution", "input", "firing rate", "MACs", "synaptic operations"]
    found.append(("Convolutions", note, columns, layers))
    return found
