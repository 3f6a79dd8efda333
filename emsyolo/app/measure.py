"""Everything that `metrics.json` says of a detector on a data set, and the pictures that go with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emsyolo.app.along import Along
from emsyolo.app.boxes import Boxes
from emsyolo.app.look import gallery_of
from emsyolo.app.passes import ANN, Passes
from emsyolo.app.sheets import Choice, Drawing, Extremes
from emsyolo.bar import bar
from emsyolo.dataset.datamodule import DataModule
from emsyolo.device import device_of
from emsyolo.evaluator.coco import SCORES, CocoEvaluator
from emsyolo.evaluator.op_count import energy_beside_spikingjelly
from emsyolo.evaluator.speed import measure_speed
from emsyolo.io import written_whole
from emsyolo.model.postprocess import Postprocess, found_in_each
from emsyolo.report.activity import firing_rates
from emsyolo.report.by_time import accuracy_by_time, metrics_by_time
from emsyolo.report.curves import precision_recall_curves
from emsyolo.report.page import Extras, page
from emsyolo.report.table import (
    by_time_table,
    layers_line,
    metrics_table,
    op_count_table,
    show,
    stream_table,
    write_layers,
)
from emsyolo.text import shortlist
from emsyolo.trainer.validate import best_figure

log = logging.getLogger(__name__)
LAYERS = "layers.csv"
SILENT = 0.001  # firing rate
SHARES = (90, 95, 99)  # per cent of the ANN's mAP


@dataclass(frozen=True)
class Energy:
    """How energy is counted.

    Attributes:
        mac_pj: of a multiply-accumulate, pJ.
        ac_pj: of an accumulate, pJ.
        spikingjelly: count one image with SpikingJelly's counter as well.
    """

    mac_pj: float = 4.6
    ac_pj: float = 0.9
    spikingjelly: bool = False

    @property
    def prices(self) -> dict[str, float]:
        """Both energies by name."""
        return {"mac_pj": self.mac_pj, "ac_pj": self.ac_pj}


@dataclass(frozen=True)
class Seen:
    """What one way through the validation set has shown.

    Attributes:
        evaluators: by read-out; under `ANN` that of the ANN.
        rates: events per second of each window.
        choice, extremes: images to be drawn.
        example: frames of one image, on the device.
    """

    evaluators: dict[int, CocoEvaluator]
    rates: list[float]
    choice: Choice
    extremes: Extremes
    example: Tensor


@torch.inference_mode()
def measure(
    passes: Passes,
    data: DataModule,
    postprocess: Postprocess,
    *,
    out: Path,
    facts: Mapping[str, Any],
    energy: Energy | None = None,
    drawing: Drawing | None = None,
    along: Along | None = None,
    run: Path | None = None,
    speed_s: float = 3.0,
) -> dict[str, Any]:
    """Evaluate, print tables, and write `metrics.json` and pictures.

    Args:
        passes: the detector, on its device, and how it is run.
        data: its validation set is measured.
        postprocess: head maps to detections.
        out: folder of the files.
        facts: further entries of `metrics.json`: checkpoint, dataset, model.
        energy: how it is counted; None is `Energy()`.
        drawing: what is drawn; None is `Drawing()`.
        along: measure it along streams as well.
        run: folder of the training that made the weights, for the page; None: unknown.
        speed_s: how long latency and throughput are measured, each; 0: in one run.

    Returns:
        What is written to `metrics.json`. Where the network is read out at several steps it has `by_T`, and where it
        was converted from an ANN also `ann`, and `steps_to`, the first T at which 90, 95 and 99 % of the ANN's mAP are
        reached (null: none, or the ANN finds nothing).
    """
    energy, drawing = energy or Energy(), drawing or Drawing()
    passes.detector.eval()
    seen = _looked_at(passes, data, postprocess, drawing)
    last = passes.times[-1]
    boxes = Boxes.of(seen.evaluators[last])
    activities = {t: value.report(**energy.prices) for t, value in passes.activities().items()}
    metrics = {
        **seen.evaluators[last].compute(),
        **boxes.figures(),
        **event_metrics(seen.evaluators[last], data, seen.rates),
        "T": last,
        "latency_steps": passes.latency(last),
        **({"stream": along.figures(seen.evaluators[last])} if along else {}),
        **_by_time(passes, seen.evaluators, activities),
        **activities[last],
        **measure_speed(
            lambda images: postprocess(passes.answer(seen.example.expand(-1, images, -1, -1, -1))),
            batch_size=passes.batch_size or data.eval_batch_size,
            device=device_of(passes.detector),
            seconds=speed_s,
        ),
        "parameters": sum(p.numel() for p in passes.detector.parameters()),
        **facts,
    }
    if energy.spikingjelly:
        metrics["energy_spikingjelly"] = energy_beside_spikingjelly(
            passes.detector, lambda: passes.detector(seen.example), **energy.prices
        )
    with written_whole(out / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    write_layers(out / LAYERS, metrics["layers"])
    if drawing.pictures:
        _draw(out, metrics, seen, data, last)
        boxes.draw(out, data.class_names)
    _say(metrics, out)
    log.info("written: %s", out)
    if drawing.extremes:
        gallery = gallery_of(passes, postprocess, seen.choice.looks, seen.extremes.looks(), data.class_names, drawing)
        film = along.films[0] if along and along.films else None
        best_by = f"val/{best_figure(data)}"
        log.info("written: %s", page(out, Extras(gallery, boxes.by_score(), film, run, best_by)))
    return metrics


def _looked_at(passes: Passes, data: DataModule, postprocess: Postprocess, drawing: Drawing) -> Seen:
    """One way through the validation set."""
    device = device_of(passes.detector)
    truth = data.val.truth()
    read_outs = (*((ANN,) if passes.reference else ()), *passes.times)
    evaluators = {t: CocoEvaluator(truth, data.class_names, data.box_filter) for t in read_outs}
    choice = Choice(len(data.val), drawing, by_time=passes.reference)
    extremes = Extremes(drawing)
    rates: list[float] = []
    example = None
    data.pin_memory = device.type == "cuda"
    for batch in bar(data.val_loader(), "evaluating"):
        frames = batch.to(device).frames
        example = frames[:, :1] if example is None else example
        maps = passes.maps(frames)
        found = dict(zip(read_outs, found_in_each(postprocess, [maps[t] for t in read_outs]), strict=True))
        for t, detections in found.items():
            evaluators[t].update(detections, batch.samples)
        choice.add(batch, found)
        extremes.add(batch, found[passes.times[-1]])
        rates += [sample.event_rate for sample in batch.samples if sample.event_rate is not None]
    assert example is not None  # a data set without samples is refused when it is opened
    return Seen(evaluators, rates, choice, extremes, example)


def _by_time(
    passes: Passes, evaluators: Mapping[int, CocoEvaluator], activities: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """`by_T`, and `ann` and `steps_to`, where there is something of the kind."""
    if len(evaluators) == 1:
        return {}
    scores = {t: {key: row[key] for key in SCORES} for t, row in ((t, e.compute()) for t, e in evaluators.items())}
    errors = passes.map_errors()
    counted = ("firing_rate", "spikes_per_image", "energy")
    by_time = {}
    for t in passes.times:
        by_time[t] = {**scores[t], "latency_steps": passes.latency(t)}
        by_time[t] |= {key: activities[t][key] for key in counted}
        by_time[t] |= {"map_error": errors[t]} if t in errors else {}
    found: dict[str, Any] = {"by_T": {str(t): row for t, row in by_time.items()}}
    if passes.reference:
        found["ann"] = scores[ANN]
        found["steps_to"] = steps_to({t: row["mAP"] for t, row in by_time.items()}, scores[ANN]["mAP"])
    return found


def steps_to(by_time: Mapping[int, float | None], ann: float | None) -> dict[str, int | None]:
    """By share of the ANN's mAP, in per cent, the first T that reaches it."""
    return {
        str(share): next((t for t, mean in by_time.items() if ann and (mean or 0) >= share / 100 * ann), None)
        for share in SHARES
    }


def _draw(out: Path, metrics: Mapping[str, Any], seen: Seen, data: DataModule, last: int) -> None:
    seen.choice.draw(out, data.class_names)
    seen.extremes.draw(out, data.class_names)
    if "by_T" in metrics:
        by_time = {int(t): row for t, row in metrics["by_T"].items()}
        if "ann" in metrics:
            metrics_by_time(out / "by_T.png", by_time, metrics["ann"])
        else:
            accuracy_by_time(out / "by_T.png", by_time)
    precision_recall_curves(out / "precision_recall.png", *seen.evaluators[last].precision_recall())
    firing_rates(out / "firing_rates.png", metrics["layers"])


def _say(metrics: Mapping[str, Any], out: Path) -> None:
    """The tables, the convolutions that multiply, and whether the network is silent."""
    if "by_T" in metrics:
        show(by_time_table({int(t): row for t, row in metrics["by_T"].items()}, metrics.get("ann", {})))
    if "energy_spikingjelly" in metrics:
        show(op_count_table(metrics["energy_spikingjelly"]))
    show(metrics_table(metrics))
    if "stream" in metrics:
        show(stream_table(metrics["stream"]))
    if "steps_to" in metrics:
        log.info("T at which 90, 95, 99 %% of the ANN's mAP are reached: %s", list(metrics["steps_to"].values()))
    log.info("layers: %s; %s has each", layers_line(metrics), out / LAYERS)
    silent = silent_layers(metrics["layers"])
    if silent:
        log.warning(
            "the network is almost silent: less than %.1f %% of the input of %d of its convolutions are spikes (%s); "
            "lower neuron.v_threshold, train longer, or start from an ANN twin (twin=true)",
            100 * SILENT, len(silent), shortlist(silent),
        )  # fmt: skip


def silent_layers(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The convolutions that hardly any spike reaches, if they are more than half of those that are fed by spikes."""
    fed = [row for row in layers if row["levels"] is not None]
    silent = [str(row["name"]) for row in fed if row["firing_rate"] < SILENT]
    return silent if 2 * len(silent) > len(fed) else []


def event_metrics(evaluator: CocoEvaluator, data: DataModule, rates: list[float]) -> dict[str, Any]:
    """What `metrics.json` adds for recordings: the events of the windows, and mAP under every filter of boxes."""
    metrics: dict[str, Any] = {}
    if data.box_filters:
        metrics["by_filter"] = {
            name: {key: value for key, value in evaluator.under(one).compute().items() if key != "per_class"}
            for name, one in data.box_filters.items()
        }
    if rates:
        metrics["events"] = {
            "rate_per_s": sum(rates) / len(rates),
            "windows": len(rates),
            "empty_windows": rates.count(0),
        }
    return metrics
