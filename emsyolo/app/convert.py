"""The part of evaluate.py that measures a detector trained as an ANN as a spiking network, at many T."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from emsyolo.app.measure import Extremes, event_metrics
from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.error import layer_errors
from emsyolo.convert.simulate import checked_times, is_delayed, simulate
from emsyolo.dataset.datamodule import DataModule
from emsyolo.evaluator.activity import ActivityMeter, ConvActivity, energy
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.evaluator.op_count import energy_beside_spikingjelly
from emsyolo.evaluator.speed import measure_speed
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.report.activity import firing_rates
from emsyolo.report.boxes import contact_sheet
from emsyolo.report.by_time import error_bars, metrics_by_time
from emsyolo.report.curves import precision_recall_curves
from emsyolo.report.events import pictures
from emsyolo.report.table import by_time_table, errors_table, metrics_table, op_count_table, show
from emsyolo.types import Batch, Detections, Targets
from emsyolo.weights.atomic import written_whole

log = logging.getLogger(__name__)
SHARES = (90, 95, 99)  # per cent of the ANN's mAP
SHEET_IMAGES = 4
KEYS = ("mAP", "mAP50", "mAP75")


def measure_conversion(
    ann: Detector,
    data: DataModule,
    postprocess: Postprocess,
    settings: Conversion,
    times: Sequence[int],
    *,
    out: Path,
    facts: dict[str, Any],
    mac_pj: float,
    ac_pj: float,
    spikingjelly: bool = False,
    score_threshold: float = 0.3,
    extremes: int = 0,
) -> dict[str, Any]:
    """Convert, simulate once, read out at every T; write `metrics.json`, tables and pictures.

    Arguments as of `measure`; `times` are the T. `metrics.json` has the figures of the largest T, and `by_T` (with
    `map_error`, the root mean square by which the maps differ from the ANN's), `ann`, and `steps_to`, the first T at
    which 90, 95 and 99 % of the ANN's mAP are reached (null: none of them, or the ANN finds nothing).
    """
    times = checked_times(times)
    ann.eval().to(memory_format=torch.contiguous_format)
    ann.T = 1  # typed T are the spiking network's
    frames = _calibration(data, settings.images, next(ann.parameters()).device)
    spiking = convert(ann, lambda: track(frames, description="calibrating", transient=True), settings)
    truth = data.val.truth()
    evaluators = {t: CocoEvaluator(truth, data.class_names, data.box_filter) for t in (0, *times)}  # 0: the ANN
    meters = {t: ActivityMeter(spiking) for t in times}
    squares = dict.fromkeys(times, 0.0)  # of the maps' differences from the ANN's, by T; sums of means
    shown: list[tuple[Tensor, list[Detections], Targets]] = []
    ranked = Extremes(extremes, score_threshold)
    rates: list[float] = []  # of events
    for batch in track(data.val_loader(), description=f"simulating {times[-1]} steps", transient=True):
        found = _detect(ann, spiking, batch, postprocess, settings, meters, squares)
        for t, one in found.items():
            evaluators[t].update(one, batch.samples)
        for i in range(min(len(batch), SHEET_IMAGES - len(shown))):
            picture = pictures(batch.frames[:, i])[-1]
            shown.append((picture, [found[t][i] for t in (*times, 0)], batch.targets[i]))
        ranked.add(batch, found[times[-1]])
        rates += [sample.event_rate for sample in batch.samples if sample.event_rate is not None]
    steps = _until(meters, alone=is_delayed(spiking))
    by_time = {
        t: {
            **{key: value for key, value in evaluators[t].compute().items() if key in KEYS},
            "firing_rate": rate,
            "energy": energy(layers, mac_pj=mac_pj, ac_pj=ac_pj),
            "map_error": (squares[t] / len(data.val)) ** 0.5,
        }
        for t, (layers, rate) in steps.items()
    }
    ann_metrics = {key: value for key, value in evaluators[0].compute().items() if key in KEYS}

    def run(images: int) -> object:
        some = batch.frames[:, :1].expand(-1, images, -1, -1, -1).to(next(ann.parameters()).device)
        return [postprocess(maps) for _, maps in simulate(spiking, some, times[-1:], chunk=settings.chunk)]

    last, _ = steps[times[-1]]
    evaluator = evaluators[times[-1]]
    columns = ("name", "firing_rate", "binary", "macs", "synops")
    metrics = {
        **evaluator.compute(),
        **event_metrics(evaluator, data, rates),
        "T": times[-1],
        "firing_rate": by_time[times[-1]]["firing_rate"],
        "layers": [{column: getattr(one, column) for column in columns} for one in last],
        "impure": [{"name": one.name, "macs": one.macs} for one in last if not one.binary],
        "energy": by_time[times[-1]]["energy"],
        **measure_speed(run, batch_size=1),
        "parameters": sum(p.numel() for p in ann.parameters()),
        "by_T": {str(t): one for t, one in by_time.items()},
        "ann": ann_metrics,
        "steps_to": _steps_to({t: one["mAP"] for t, one in by_time.items()}, ann_metrics["mAP"]),
        "convert": asdict(settings),
        **facts,
    }
    if spikingjelly:
        beside = energy_beside_spikingjelly(spiking, lambda: run(1), mac_pj=mac_pj, ac_pj=ac_pj)
        metrics["energy_spikingjelly"] = beside
        show(op_count_table(beside))
    if settings.report:
        errors = layer_errors(spiking, ann, frames[:1], times[-1], chunk=settings.chunk)
        metrics["errors"] = [asdict(one) for one in errors]
        with written_whole(out / "errors.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(metrics["errors"][0]))
            writer.writeheader()
            writer.writerows(metrics["errors"])
        error_bars(out / "errors.png", metrics["errors"], times[-1])
        show(errors_table(metrics["errors"]))
    with written_whole(out / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    metrics_by_time(out / "by_T.png", by_time, ann_metrics)
    contact_sheet(
        out / "detections.png",
        [picture for picture, found, _ in shown for _ in found],
        [one for _, found, _ in shown for one in found],
        [targets for _, found, targets in shown for _ in found],
        data.class_names,
        score_threshold=score_threshold,
        columns=len(times) + 1,
        titles=[*(f"T = {t}" for t in times), "ANN"],
    )
    ranked.draw(out, data.class_names)
    precision_recall_curves(out / "precision_recall.png", *evaluator.precision_recall())
    firing_rates(out / "firing_rates.png", metrics["layers"])
    show(metrics_table(metrics))
    show(by_time_table(by_time, ann_metrics))
    log.info("T at which 90, 95, 99 %% of the ANN's mAP are reached: %s", list(metrics["steps_to"].values()))
    log.info("written: %s", out)
    return metrics


def _calibration(data: DataModule, images: int, device: torch.device) -> list[Tensor]:
    """Frames of training images as they are evaluated, in batches `[1, N, C, H, W]`."""
    frames: list[Tensor] = []
    for batch in data.calibration_loader():
        frames.append(batch.frames[:, : images - sum(one.shape[1] for one in frames)].to(device))
        if sum(one.shape[1] for one in frames) >= images:
            break
    return frames


def _detect(
    ann: Detector,
    spiking: Detector,
    batch: Batch,
    postprocess: Postprocess,
    settings: Conversion,
    meters: dict[int, ActivityMeter],
    squares: dict[int, float],
) -> dict[int, list[Detections]]:
    """The detections of a batch by T, the ANN's under 0; activity between two T goes to the later one's meter.

    The mean squared difference of the maps from the ANN's, summed over images, is added to `squares`.
    """
    frames = batch.frames.to(next(ann.parameters()).device)
    with torch.inference_mode():
        exact = ann(frames)
        found = {0: _on_cpu(postprocess(exact))}
    passes = simulate(spiking, frames, list(meters), chunk=settings.chunk)
    for t, meter in meters.items():
        with meter:
            _, maps = next(passes)
            meter.step(len(batch))
        found[t] = _on_cpu(postprocess(maps))
        apart = torch.cat([(a - b).flatten() for a, b in zip(maps.maps, exact.maps, strict=True)])
        squares[t] += apart.square().mean().item() * len(batch)
    next(passes, None)  # lets it forget its potentials
    return found


def _on_cpu(found: list[Detections]) -> list[Detections]:
    return [Detections(one.boxes_xyxy.cpu(), one.scores.cpu(), one.labels.cpu()) for one in found]


def _steps_to(by_time: Mapping[int, float | None], ann: float | None) -> dict[str, int | None]:
    """By share of the ANN's mAP, in per cent, the first T that reaches it."""
    return {
        str(share): next((t for t, mean in by_time.items() if ann and (mean or 0) >= share / 100 * ann), None)
        for share in SHARES
    }


def _until(meters: Mapping[int, ActivityMeter], *, alone: bool) -> dict[int, tuple[list[ConvActivity], float]]:
    """The layers and the firing rate up to every T, from the meters of `_detect`.

    Args:
        meters: by T, in order.
        alone: every T was a pass of its own; else one pass went on from T to T.
    """
    times = list(meters)
    steps = [_activity(meters[t], alone or t == times[0]) for t in times]
    rates = [meters[t].report()["firing_rate"] for t in times]
    if not alone:
        steps = list(accumulate(steps, _joined))
        spikes = accumulate(rate * (t - before) for rate, (before, t) in zip(rates, pairwise((0, *times)), strict=True))
        rates = [total / t for total, t in zip(spikes, times, strict=True)]
    return {t: (layers, rate) for t, layers, rate in zip(times, steps, rates, strict=True)}


def _activity(meter: ActivityMeter, first: bool) -> list[ConvActivity]:
    """The layers of a stretch of time; the first convolution and the maps, needed once per image, are counted once."""
    layers = meter.layers()
    once = {layers[0].name} | {one.name for one in layers if one.name.startswith("head.")}
    counted = []
    for one in layers:
        share = 1.0 if one.name not in once else (1 / one.passes if first or one.name.startswith("head.") else 0.0)
        counted.append(replace(one, macs=one.macs * share, synops=one.synops * share, passes=one.passes * share))
    return counted


def _joined(before: list[ConvActivity], after: list[ConvActivity]) -> list[ConvActivity]:
    """Two stretches of time as one; of the maps, which are read out once, the later alone."""
    joined = []
    for a, b in zip(before, after, strict=True):
        if a.name.startswith("head."):
            joined.append(b)
            continue
        passes = a.passes + b.passes
        rate = (a.firing_rate * a.passes + b.firing_rate * b.passes) / passes
        joined.append(
            ConvActivity(
                a.name, rate, a.binary and b.binary, a.macs + b.macs, a.synops + b.synops, passes, a.signed and b.signed
            )
        )
    return joined
