"""Tables for the terminal."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emsyolo.io import written_whole

NOTHING = "-"
MEAN = "mean_"  # before the name of a part of the error
SWEEP_METRICS = ("mAP", "mAP50", "mAP75", "firing_rate", "energy_mJ", "energy_ratio")
# Shown like "29.7 M":
SWEEP_COUNTS = ("latency_steps", "spikes_per_image", "non_spike_macs", "parameters", "training_s")
CLASSES_SHOWN = 10
WIDEST = 10_000  # columns that a table may ask for where the output is no terminal: rich would take 80 and cut names


def show(table: Table) -> None:
    """Print a table, as wide as it needs to be where the output goes to a file."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    console = Console(width=WIDEST)
    console.print(table, width=console.measure(table).maximum)


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """metrics.json as a table of two columns; what it does not have is left out, what is null is a dash."""
    title = " on ".join(str(metrics[key]) for key in ("model", "dataset") if metrics.get(key))
    table = Table(title=escape(title) or None, box=box.SIMPLE_HEAD, show_header=False, title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("value", justify="right")
    for section in _sections(metrics):
        for name, value in section:
            table.add_row(name, value)
        if section:
            table.add_section()
    return table


def write_layers(path: Path, layers: Sequence[Mapping[str, Any]]) -> None:
    """Write the convolutions of metrics.json as CSV: what each is fed with and what it costs per image.

    Raises:
        OSError: it could not be written.
    """
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(layers[0]))
        writer.writeheader()
        writer.writerows(layers)


def layers_line(metrics: Mapping[str, Any]) -> str:
    """What the convolutions of metrics.json are fed with, in one line."""
    layers = metrics["layers"]
    all_macs = max(1, sum(layer["macs"] for layer in layers))
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        kinds.setdefault(_fed_with(layer), []).append(layer)
    return ", ".join(
        f"{len(those)} fed by {kind} ({sum(layer['macs'] for layer in those) / all_macs:.1%} of the MACs)"
        for kind, those in kinds.items()
    )


def _fed_with(layer: Mapping[str, Any]) -> str:
    """What a convolution's input is made of."""
    if layer["binary"]:
        return "spikes of 0 and 1"
    return "numbers" if layer["levels"] is None else f"spikes of 0 to {layer['levels']}"


def stream_table(stream: Mapping[str, Any]) -> Table:
    """What a detector finds in windows, each from nothing, and along streams with its state carried on."""
    table = Table(title="Along streams", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("labelled times")
    for heading in ("images", "windows mAP", "mAP50", "carried mAP", "mAP50"):
        table.add_column(heading, justify="right")
    for name, key in (("all", None), ("to 0.5 s after the start", "early"), ("later", "later")):
        windows, carried = (stream[way] if key is None else stream[way][key] for way in ("windows", "carried"))
        if windows is not None and carried is not None:
            figures = (windows["mAP"], windows["mAP50"], carried["mAP"], carried["mAP50"])
            table.add_row(name, count(carried["images"]), *map(decimal, figures))
    for since, recall in stream["carried"].get("stopped", {}).items():
        what = "moving" if since == "moving" else f"standing still for up to {since} s"
        table.add_row(f"recall, {what}", "", "", decimal(stream["windows"]["stopped"][since]), "", decimal(recall))
    latency = stream["latency_ms"]
    table.caption = (
        f"{stream['recordings']} recordings, {stream['steps']} steps of {stream['hop_ms']:.0f} ms; latency of a step "
        f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms; {stream['events_per_s']:.3g} events/s"
    )
    return table


def sweep_table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """The runs of a sweep: what was varied, and the metrics that at least one of them has; the best mAP is bold."""
    shown = [name for name in (*SWEEP_METRICS, *SWEEP_COUNTS) if any(row.get(name) is not None for row in rows)]
    known = [row["mAP"] for row in rows if row.get("mAP") is not None]
    table = Table(title="Sweep", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in (*keys, *shown):
        table.add_column(heading, justify="right" if heading in shown else "left", overflow="fold")
    for row in rows:
        is_best = bool(known) and row.get("mAP") == max(known)
        figures = [decimal(row.get(name)) if name in SWEEP_METRICS else count(row.get(name)) for name in shown]
        cells = [*(escape(str(row.get(key, NOTHING))) for key in keys), *figures]
        table.add_row(*cells, style="bold" if is_best else None)
    return table


def by_time_table(by_time: Mapping[int, Mapping[str, Any]], ann: Mapping[str, Any]) -> Table:
    """What a network reaches at every T, and the ANN that it was converted from, if it was."""
    table = Table(title="By time steps", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in ("T", "latency, steps", "mAP", "mAP50", "mAP75", "firing rate", "energy, mJ", "of the ANN's"):
        table.add_column(heading, justify="right")
    for t, value in by_time.items():
        scores = [decimal(value[key]) for key in ("mAP", "mAP50", "mAP75")]
        cost = value.get("energy", {})
        figures = percent(value.get("firing_rate")), decimal(cost.get("snn_mJ")), decimal(cost.get("ratio"))
        table.add_row(str(t), str(value["latency_steps"]), *scores, *figures)
    if ann:
        table.add_row(
            "ANN", NOTHING, *(decimal(ann[key]) for key in ("mAP", "mAP50", "mAP75")), NOTHING, NOTHING, NOTHING
        )
    return table


def op_count_table(beside: Mapping[str, Any]) -> Table:
    """The operations of one image, as counted here and by SpikingJelly."""
    theirs = beside["spikingjelly"]
    extra = f"{theirs['other_mJ']:.4f} mJ other operations, {theirs['memory_mJ']:.4f} mJ memory"
    table = Table(
        title="One image, counted here and by SpikingJelly",
        caption=f"SpikingJelly adds {extra}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        show_footer=True,
    )
    columns = ("synaptic operations", "MACs", "SpikingJelly: ACs", "MACs")
    footers = (decimal(beside["ours_mJ"]), "", decimal(theirs["convolutions_mJ"]), "")
    table.add_column("convolution", "energy, mJ", overflow="fold")
    for heading, footer in zip(columns, footers, strict=True):
        table.add_column(heading, footer, justify="right")
    for row in beside["layers"]:
        table.add_row(escape(row["name"]), *(count(value) for key, value in row.items() if key != "name"))
    return table


def errors_table(errors: Sequence[Mapping[str, Any]]) -> Table:
    """The error of each layer and its parts: root mean square, and mean where there is one."""
    title = (
        "Error by layer, in thresholds: root mean square / mean. Clipping, quantisation and unevenness make the total"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer", overflow="fold")
    columns = [key for key in errors[0] if key != "name" and not key.startswith(MEAN)]
    for heading in columns:
        table.add_column(heading.replace("_", " "), justify="right")
    for error in errors:
        means = (f" / {error[MEAN + key]:+.4f}" if MEAN + key in error else "" for key in columns)
        cells = (f"{error[key]:.4f}{mean}" for key, mean in zip(columns, means, strict=True))
        table.add_row(escape(error["name"]), *cells)
    return table


def _sections(metrics: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
    """The rows of `metrics_table`, in groups."""
    accuracy = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")
    energy = metrics.get("energy") or {}
    latency = metrics.get("latency_ms") or {}
    activity = [("firing rate", percent(metrics["firing_rate"]))] if "firing_rate" in metrics else []
    if energy:
        activity += [
            ("energy per image", f"{decimal(energy['snn_mJ'])} mJ"),
            ("the same as an ANN", f"{decimal(energy['ann_mJ'])} mJ"),
            ("ratio", decimal(energy["ratio"])),
        ]
    if "impure" in metrics:
        share = sum(layer["macs"] for layer in metrics["impure"])
        activity.append(("convolutions not fed with spikes", f"{len(metrics['impure'])} ({count(share)} MACs)"))
    speed = [(f"latency {name}", f"{value:.1f} ms") for name, value in latency.items()]
    if metrics.get("throughput") is not None:
        speed.append(("throughput", f"{metrics['throughput']:.1f} images/s"))
    if "speed_of" in metrics:
        how = metrics["speed_of"]
        speed.append(("measured with", f"batch {how['batch']}, {how['device']}, {how['threads']} threads"))
    network = [(name, str(metrics[name])) for name in ("T", "images") if name in metrics]
    if "parameters" in metrics:
        network.append(("parameters", count(metrics["parameters"])))
    events = metrics.get("events") or {}
    stream = [("events per second", count(events["rate_per_s"]))] if events else []
    if events:
        stream.append(("empty windows", f"{events['empty_windows']} of {events['windows']}"))
    by_filter = metrics.get("by_filter") or {}
    return [
        [(name, decimal(metrics[name])) for name in accuracy if name in metrics],
        _boxes(metrics),
        [
            (f"mAP, mAP50 with filter {escape(name)}", f"{decimal(one['mAP'])}, {decimal(one['mAP50'])}")
            for name, one in by_filter.items()
        ],
        stream,
        _classes(metrics.get("per_class") or {}),
        activity,
        speed,
        network,
    ]


def _classes(per_class: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """A row for each class; of many, only for the worst."""
    if len(per_class) <= CLASSES_SHOWN:
        return [(f"mAP of {escape(name)}", decimal(value)) for name, value in per_class.items()]
    measured = sorted((value, name) for name, value in per_class.items() if value is not None)[:CLASSES_SHOWN]
    left = len(per_class) - len(measured)
    rows = [(f"mAP of {escape(name)}", decimal(value)) for value, name in measured]
    return [*rows, (f"and {left} classes that are better or absent", "see metrics.json")]


def _boxes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The best threshold, and what became of the boxes there."""
    if "boxes" not in metrics:
        return []
    counts = metrics["boxes"]
    at = f" at score {metrics['best_threshold']:.3f}" if metrics["best_threshold"] is not None else ""
    names = ("found", "missed", "confused", "doubled", "false")
    return [
        (f"best F1{at}", f"{decimal(metrics['f1'])}"),
        (f"of {counts['true']} boxes {', '.join(names)}", ", ".join(str(counts[name]) for name in names)),
    ]


def decimal(value: float | None) -> str:
    """Four decimals, or three digits of what is smaller."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share of 1 as 12.34%."""
    return NOTHING if value is None else f"{value:.2%}"


def count(value: float | None) -> str:
    """A count with a prefix: 1.5 G, 20.3 M, 4.0 k."""
    if value is None:
        return NOTHING
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {prefix}"
    return f"{value:.0f}"
