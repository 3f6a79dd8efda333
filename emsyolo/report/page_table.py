"""The cards and tables of an evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emsyolo.report.table import NOTHING, count, decimal, percent

Cell = tuple[str, float | None]  # what is read, and by what it is sorted; None: by the text


@dataclass(frozen=True)
class PageTable:
    """A table that a reader may sort.

    Attributes:
        key: a word for links.
        title: heading.
        note: below it.
        columns: heads.
        rows: cells.
    """

    key: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def cards(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top, by name."""
    energy = metrics["energy"]
    impure = sum(layer["macs"] for layer in metrics["impure"]) / max(
        1, sum(layer["macs"] for layer in metrics["layers"])
    )
    return [
        ("mAP@0.5", _score(metrics["mAP50"])),
        ("mAP@0.5:0.95", _score(metrics["mAP"])),
        *_boxes(metrics),
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


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _boxes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    if metrics.get("f1") is None:
        return []
    at = metrics["best_threshold"]
    counts = metrics["boxes"]
    return [
        ("best F1" + ("" if at is None else f", at score {at:.3f}"), _score(metrics["f1"])),
        ("boxes found there", f"{counts['found']} of {counts['true']}"),
        ("missed, of another class", f"{counts['missed']}, {counts['confused']}"),
        ("doubled, false", f"{counts['doubled']}, {counts['false']}"),
    ]


def _events(events: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if events is None:
        return []
    empty = f"{events['empty_windows']} of {events['windows']}"
    return [("events per second", count(events["rate_per_s"])), ("empty windows", empty)]


def tables(metrics: Mapping[str, Any]) -> list[PageTable]:
    """All tables that a measurement has figures for."""
    found = []
    if "by_T" in metrics:
        found.append(_by_time(metrics))
    if "stream" in metrics:
        found.append(_stream(metrics["stream"]))
    if "by_filter" in metrics:
        rows = [
            [(name, None), (str(row["images"]), row["images"]), _cell(row["mAP50"]), _cell(row["mAP"])]
            for name, row in metrics["by_filter"].items()
        ]
        note = "The same detections, counted with the boxes that each filter leaves."
        columns = ["filter", "images", "mAP@0.5", "mAP"]
        found.append(PageTable("filters", "By filter of boxes", note, columns, rows))
    worst_first = sorted(metrics["per_class"].items(), key=lambda item: (item[1] is None, item[1]))
    note = "mAP at IoU 0.5 to 0.95, the worst first."
    classes = [[(name, None), _cell(value)] for name, value in worst_first]
    found.append(PageTable("classes", "Classes", note, ["class", "mAP"], classes))
    layers = [
        [(layer["name"], None), (_fed_with(layer), None),
         (percent(layer["firing_rate"]), layer["firing_rate"]), (count(layer["macs"]), layer["macs"]),
         (count(layer["synops"]), layer["synops"])]
        for layer in metrics["layers"]
    ]  # fmt: skip
    note = (
        f"{len(metrics['impure'])} of {len(layers)} are fed by something other than 0 and 1. Operations are per image."
    )
    columns = ["convolution", "input", "firing rate", "MACs", "synaptic operations"]
    return [*found, PageTable("layers", "Convolutions", note, columns, layers)]


def _fed_with(layer: Mapping[str, Any]) -> str:
    """What a convolution's input is made of."""
    if layer["binary"]:
        return "spikes"
    return "numbers" if layer.get("levels") is None else f"0 to {layer['levels']}"


def _cell(value: float | None) -> Cell:
    return _score(value), value


def _by_time(metrics: Mapping[str, Any]) -> PageTable:
    columns = ["T", "mAP@0.5", "mAP"]
    rows: list[list[Cell]] = [
        [(t, float(t)), _cell(row["mAP50"]), _cell(row["mAP"])] for t, row in metrics["by_T"].items()
    ]
    if "ann" in metrics:  # a converted network, of which every T has its own activity
        columns += ["firing rate", "energy, mJ", "of the ANN's"]
        for row, at in zip(rows, metrics["by_T"].values(), strict=True):
            cost = at["energy"]
            row += [
                (percent(at["firing_rate"]), at["firing_rate"]),
                (decimal(cost["snn_mJ"]), cost["snn_mJ"]),
                (percent(cost["ratio"]), cost["ratio"]),
            ]
        ann = metrics["energy"]["ann_mJ"]
        scores = [_cell(metrics["ann"][key]) for key in ("mAP50", "mAP")]
        rows.append([("ANN", None), *scores, (NOTHING, None), (decimal(ann), ann), (percent(1), 1.0)])
    return PageTable("by-steps", "By time steps, in figures", "", columns, rows)


def _stream(stream: Mapping[str, Any]) -> PageTable:
    rows: list[list[Cell]] = []
    for name, key in (("all", None), ("to 0.5 s after the start", "early"), ("later", "later")):
        windows, carried = (stream[way] if key is None else stream[way][key] for way in ("windows", "carried"))
        if windows is not None and carried is not None:
            figures = (windows["mAP50"], windows["mAP"], carried["mAP50"], carried["mAP"])
            rows.append([(name, None), (str(carried["images"]), carried["images"]), *map(_cell, figures)])
    note = (
        "Labelled times of all recordings: each window from nothing, and with the state carried on from step to step."
    )
    columns = ["labelled times", "images", "windows mAP@0.5", "mAP", "carried mAP@0.5", "mAP"]
    return PageTable("along", "Along streams, in figures", note, columns, rows)
