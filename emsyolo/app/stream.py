"""The task of predict.py on a recording of an event camera."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from emsyolo.app.build import fit_of, framing_of
from emsyolo.app.found import write_predictions
from emsyolo.bar import bar
from emsyolo.dataset.event.recording import open_recording
from emsyolo.deploy.stream import Answer, Stream, speed_of
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.report.boxes import draw_boxes
from emsyolo.report.events import picture
from emsyolo.report.film import Film
from emsyolo.report.gallery import LOWEST_SCORE
from emsyolo.report.page import film_page
from emsyolo.report.results import coco_results
from emsyolo.report.table import count

log = logging.getLogger(__name__)
FILM_BYTES = 2_400_000  # of the pictures on the page


def predict_stream(cfg: DictConfig, detector: Detector, class_names: list[str], source: Path, out: Path) -> None:
    """Detect along a recording; write a GIF of events with boxes, a page to play and `predictions.json`; say how fast.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a recording, no event in the asked time, or a detector of still images.
    """
    if "representation" not in cfg.dataset:
        raise ValueError(f"source={source} is a recording, but the checkpoint was trained on still images")
    sensor_hw = (int(cfg.dataset.sensor_hw[0]), int(cfg.dataset.sensor_hw[1]))
    recording = open_recording(source, sensor_hw)
    sensor_hw = recording.sensor_hw or sensor_hw
    if not len(recording):
        raise ValueError(f"source={source}: no event in this recording")
    stream = Stream(
        detector,
        instantiate(cfg.postprocess),
        framing_of(cfg),
        fit_of(cfg),
        stateful=cfg.stream.stateful,
    )
    start_us = recording.first_us if cfg.stream.start_us is None else cfg.stream.start_us
    end_us = recording.last_us + 1 if cfg.stream.end_us is None else cfg.stream.end_us
    edges = stream.edges(start_us, end_us)
    if len(edges) < 2:
        raise ValueError(f"stream.start_us={start_us}, stream.end_us={end_us}; expected some time between them")
    answers = []
    shown: list[Image.Image] = []
    score = cfg.postprocess.get("confidence", LOWEST_SCORE)
    film = Film(
        source.name, len(edges) - 1, stream.hop_us, sensor_hw, class_names, score, FILM_BYTES, min(score, LOWEST_SCORE)
    )
    for answer in bar(stream.answers(recording, sensor_hw, edges), "detecting", total=len(edges) - 1):
        answers.append(answer)
        film.add(answer.end_us, picture(answer.frames[-1]), answer.detections, answer.events)
        if len(shown) < cfg.stream.gif_frames:
            pixels = resize(picture(answer.frames[-1]), list(sensor_hw), InterpolationMode.NEAREST)
            image = draw_boxes(pixels, answer.detections, class_names)
            shown.append(Image.fromarray(image.permute(1, 2, 0).numpy()))
    with written_whole(out / f"{source.stem}.gif") as path:
        shown[0].save(
            path, format="GIF", save_all=True, append_images=shown[1:], duration=max(20, stream.hop_us // 1000), loop=0
        )
    speed = speed_of(answers, stream.hop_us)
    images, annotations = _found(source, sensor_hw, answers)
    write_predictions(out, images, annotations, class_names, speed=speed)
    log.info(
        "%d answers, one per %.0f ms of the recording (%s): latency p50 %.1f ms, p95 %.1f ms; %.3g events/s; %s",
        len(answers), stream.hop_us / 1000, "stateful" if stream.stateful else "stateless", speed["latency_ms"]["p50"],
        speed["latency_ms"]["p95"], speed["events_per_s"],
        "keeps up with real time" if speed["real_time"] else "does not keep up with real time",
    )  # fmt: skip
    where = [
        f"{sensor_hw[1]}x{sensor_hw[0]} px",
        "state carried on" if stream.stateful else "every window from nothing",
    ]
    film_page(out / "report.html", film, f"{source.name}", where, _cards(speed, answers, stream.hop_us))
    log.info("written: %s", out)


def _cards(speed: dict[str, Any], answers: list[Answer], hop_us: int) -> list[tuple[str, str]]:
    """The figures at the top of the page."""
    return [
        ("answers", str(len(answers))),
        ("one per, ms", f"{hop_us / 1000:g}"),
        ("boxes found", str(sum(len(answer.detections) for answer in answers))),
        ("latency p50, ms", f"{speed['latency_ms']['p50']:.1f}"),
        ("latency p95, ms", f"{speed['latency_ms']['p95']:.1f}"),
        ("events per second that it could take", count(speed["events_per_s"])),
        ("in real time", "yes" if speed["real_time"] else "no"),
    ]


def _found(
    source: Path, sensor_hw: tuple[int, int], answers: list[Answer]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The detections in COCO's form, images and annotations: an image is a time of the recording."""
    images = [
        {"id": i, "file_name": source.name, "t_us": one.end_us, "height": sensor_hw[0], "width": sensor_hw[1]}
        for i, one in enumerate(answers)
    ]
    return images, [row for i, answer in enumerate(answers) for row in coco_results(i, answer.detections)]
