"""Everything that `metrics.json` says of a detector on a data set, and the pictures that go with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from emsyolo.dataset.datamodule import DataModule
from emsyolo.evaluator.activity import ActivityMeter
from emsyolo.evaluator.coco import CocoEvaluator
from emsyolo.evaluator.op_count import energy_beside_spikingjelly
from emsyolo.evaluator.per_image import image_f1
from emsyolo.evaluator.speed import measure_speed
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.multistep import reset
from emsyolo.report.activity import firing_rates
from emsyolo.report.boxes import contact_sheet
from emsyolo.report.by_time import accuracy_by_time
from emsyolo.report.curves import precision_recall_curves
from emsyolo.report.events import pictures
from emsyolo.report.table import by_time_table, layers_table, metrics_table, op_count_table, show
from emsyolo.types import Batch, Detections, HeadMaps, Targets
from emsyolo.weights.atomic import written_whole

log = logging.getLogger(__name__)
SCORES = ("mAP", "mAP50", "mAP75")


@dataclass
class Shown:
    """The images of the contact sheet, with what was found on them."""

    images: list[Tensor] = field(default_factory=list)
    detections: list[Detections] = field(default_factory=list)
    truths: list[Targets] = field(default_factory=list)

    def add(self, frames: Tensor, detections: Detections, truth: Targets) -> None:
        """Add a sample, frames `[T0, C, H, W]`: one picture of a still image, of events the first and the last step."""
        for picture in pictures(frames):
            self.images.append(picture)
            self.detections.append(detections)
            self.truths.append(truth)


@dataclass
class Extremes:
    """The images that were done best and worst, by F1.

    Attributes:
        count: how many of each; with 0 nothing is kept.
        score_threshold: of the boxes that count, and are drawn.
        ranked: score, place in the set, frames `[T0, C, H, W]`, what was found and the truth; the worst first.
    """

    count: int
    score_threshold: float
    ranked: list[tuple[float, int, Tensor, Detections, Targets]] = field(default_factory=list)
    seen: int = 0

    def add(self, batch: Batch, found: Sequence[Detections]) -> None:
        """Look at the images of a batch; what is neither best nor worst is forgotten."""
        for i, (one, truth) in enumerate(zip(found, batch.targets, strict=True) if self.count else ()):
            score = image_f1(one, truth, score_threshold=self.score_threshold)
            self.ranked.append((score, self.seen + i, batch.frames[:, i].clone(), one, truth))
        self.seen += len(batch)
        self.ranked.sort(key=lambda one: one[:2])
        del self.ranked[self.count : max(self.count, len(self.ranked) - self.count)]

    def draw(self, out: Path, class_names: Sequence[str]) -> None:
        """Write `worst.png` and `best.png`, where there are any."""
        for name, some in (("worst", self.ranked[: self.count]), ("best", self.ranked[::-1][: self.count])):
            sheet = Shown()
            for _, _, frames, detections, truth in some:
                sheet.add(frames, detections, truth)
            if some:
                contact_sheet(
                    out / f"{name}.png", sheet.images, sheet.detections, sheet.truths, class_names,
                    score_threshold=self.score_threshold,
                )  # fmt: skip


@torch.inference_mode()
def measure(
    detector: Detector,
    data: DataModule,
    postprocess: Postprocess,
    *,
    out: Path,
    facts: dict[str, Any],
    mac_pj: float,
    ac_pj: float,
    spikingjelly: bool = False,
    compiled: bool = False,
    score_threshold: float = 0.3,
    sheet_images: int = 16,
    extremes: int = 0,
    times: Sequence[int] = (),
) -> dict[str, Any]:
    """Evaluate, print a table, and write `metrics.json` and pictures.

    Args:
        detector: on its device.
        data: its validation set is measured.
        postprocess: head maps to detections.
        out: folder of the files.
        facts: further entries of `metrics.json`: checkpoint, dataset, model.
        mac_pj: energy of a multiply-accumulate, pJ.
        ac_pj: energy of an accumulate, pJ.
        spikingjelly: count one image with SpikingJelly's counter as well.
        compiled: measure the speed of the detector after `torch.compile`; all else is counted without it.
        score_threshold: of the boxes on the contact sheet.
        sheet_images: number of images on the contact sheet.
        extremes: so many of the best and of the worst images are drawn, too.
        times: steps after which the maps are read out as well, from the same pass, at most the detector's T; none: the
            powers of two up to T.

    Returns:
        What is written to `metrics.json`.
    """
    detector.eval()
    device = next(detector.parameters()).device
    early = {t for t in times or (2**i for i in range(detector.T.bit_length())) if t < detector.T}
    evaluators = {
        t: CocoEvaluator(data.val.truth(), data.class_names, data.box_filter) for t in (*sorted(early), detector.T)
    }
    evaluator = evaluators[detector.T]
    shown = Shown()
    rates: list[float] = []
    # Spread over the set, for the first samples may all be of one recording.
    chosen = set(np.linspace(0, len(data.val) - 1, min(sheet_images, len(data.val))).round().astype(int).tolist())
    seen = 0
    ranked = Extremes(extremes, score_threshold)
    loader = data.val_loader()
    with ActivityMeter(detector) as meter:
        for batch in track(loader, description="evaluating", transient=True):
            maps = _by_time(detector, batch.frames.to(device), list(evaluators))
            meter.step(len(batch))
            for t, counted in evaluators.items():
                found = [Detections(d.boxes_xyxy.cpu(), d.scores.cpu(), d.labels.cpu()) for d in postprocess(maps[t])]
                counted.update(found, batch.samples)
            rates += [sample.event_rate for sample in batch.samples if sample.event_rate is not None]
            for i in range(len(batch)):
                if seen + i in chosen:
                    shown.add(batch.frames[:, i], found[i], batch.targets[i])
            ranked.add(batch, found)
            seen += len(batch)

    fast = torch.compile(detector) if compiled else detector

    def run(images: int) -> object:
        frames = batch.frames[:, :1].expand(-1, images, -1, -1, -1)
        return postprocess(fast(frames.to(device)))

    metrics = {
        **evaluator.compute(),
        **event_metrics(evaluator, data, rates),
        "T": detector.T,
        **_readouts(evaluators),
        **meter.report(mac_pj=mac_pj, ac_pj=ac_pj),
        **measure_speed(run, batch_size=data.eval_batch_size),
        "parameters": sum(p.numel() for p in detector.parameters()),
        **facts,
    }
    if spikingjelly:
        metrics["energy_spikingjelly"] = energy_beside_spikingjelly(
            detector, lambda: detector(batch.frames[:, :1].to(device)), mac_pj=mac_pj, ac_pj=ac_pj
        )
    with written_whole(out / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    contact_sheet(
        out / "detections.png",
        shown.images,
        shown.detections,
        shown.truths,
        data.class_names,
        score_threshold=score_threshold,
    )
    ranked.draw(out, data.class_names)
    if "by_T" in metrics:
        accuracy_by_time(out / "by_T.png", {t: metrics["by_T"][str(t)] for t in evaluators})
        show(by_time_table({t: metrics["by_T"][str(t)] for t in evaluators}, {}))
    precision_recall_curves(out / "precision_recall.png", *evaluator.precision_recall())
    firing_rates(out / "firing_rates.png", metrics["layers"])
    show(layers_table(metrics))
    if spikingjelly:
        show(op_count_table(metrics["energy_spikingjelly"]))
    show(metrics_table(metrics))
    impure = metrics["impure"]
    log.info(
        "%d of %d convolutions are not fed by 0 and 1 alone (%.1f %% of all MACs): %s",
        len(impure),
        len(metrics["layers"]),
        100 * sum(row["macs"] for row in impure) / max(1, sum(row["macs"] for row in metrics["layers"])),
        ", ".join(row["name"] for row in impure) or "none",
    )
    log.info("written: %s", out)
    return metrics


def _by_time(detector: Detector, frames: Tensor, times: Sequence[int]) -> dict[int, HeadMaps]:
    """The maps after each number of steps, the last of which is all of them."""
    reset(detector)
    features = detector.features(frames)
    reset(detector)
    early = {t: detector.head([one[:t] for one in features]) for t in times[:-1]}
    return {**early, times[-1]: detector.head(features)}


def _readouts(evaluators: dict[int, CocoEvaluator]) -> dict[str, Any]:
    """`by_T`, where there is more than one."""
    if len(evaluators) == 1:
        return {}
    computed = {t: one.compute() for t, one in evaluators.items()}
    return {"by_T": {str(t): {key: one[key] for key in SCORES} for t, one in computed.items()}}


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
