"""Evaluation along streams: every recording of the validation set from its first event to its last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emsyolo.bar import bar
from emsyolo.dataset.datamodule import DataModule
from emsyolo.dataset.event.boxes import read_boxes
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.event.stops import STOPS, read_stops, stopped_for_us
from emsyolo.dataset.images import Record, targets_of
from emsyolo.dataset.prophesee import BOXES, RECORDING
from emsyolo.deploy.stream import Answer, Stream, speed_of
from emsyolo.evaluator.coco import SCORES, CocoEvaluator
from emsyolo.evaluator.stopped import Standing, stopped_recall
from emsyolo.model.detector import Detector
from emsyolo.model.postprocess import Postprocess
from emsyolo.report.events import picture
from emsyolo.report.film import Film
from emsyolo.report.page import film_limit
from emsyolo.types import Detections, Sample, Targets

FILM_SCORE = 0.3  # of the boxes that are shown at first
EARLY_US = 500_000  # from the start of a recording, in which a network's state is still building up


@dataclass(frozen=True)
class Along:
    """A detector that is to be measured along streams, its state carried on.

    Args:
        detector: in evaluation mode, on its device.
        data: of recordings.
        postprocess: head maps to detections.
        films: an empty list takes what is seen and found along the first recording; None: nothing is kept.

    Raises:
        ValueError: a data set without recordings.
    """

    detector: Detector
    data: DataModule
    postprocess: Postprocess
    films: list[Film] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data.val, EventDataset):
            raise ValueError(
                f"stream=true: dataset {self.data.name} has no recordings of events; expected stream=false"
            )

    def figures(self, windows: CocoEvaluator) -> dict[str, Any]:
        """What `metrics.json` says under `stream`.

        Args:
            windows: with what the same detector found in the data set's windows, each from nothing.

        Returns:
            `carried` and `windows`, each with mAP, mAP50 and mAP75 over the same labelled times, and the same by the
            time since the recording's start (`early`: up to 0.5 s, `later`), and, where the recordings say when their
            objects stand still, the recall of those (`stopped`, see `stopped_recall`); latency and throughput of a
            step.
        """
        recordings = self.data.val
        assert isinstance(recordings, EventDataset)
        stream = Stream(self.detector, self.postprocess, recordings.framing, self.data.fit, stateful=True)
        carried = CocoEvaluator(recordings.truth(), self.data.class_names, self.data.box_filter)
        early, answers = set(), []
        for steps, indices in bar(recordings.walks, "streaming"):
            records = [recordings.records[index] for index in indices]
            recording = recordings.recording(records[0])
            wanted: dict[int, list[int]] = {}
            for place, end in enumerate(steps.ends):
                wanted.setdefault(end, []).append(place)
            edges = steps.edges(0, len(steps))
            film = self._film(records[0], len(steps), stream.hop_us)
            for end, answer in enumerate(stream.answers(recording, records[0].size_hw, edges), start=1):
                answers.append(replace(answer, frames=answer.frames[:0]))
                if film is not None:
                    truth = [targets_of(records[place]) for place in wanted.get(end, ())]
                    shown = picture(answer.frames[-1])
                    film.add(answer.end_us, shown, answer.detections, answer.events, truth[0] if truth else None)
                for place in wanted.get(end, ()):
                    carried.update([answer.detections], [_in_sensor(records[place].id, records[place].size_hw)])
                    if (records[place].t_us or 0) - recording.first_us <= EARLY_US:
                        early.add(records[place].id)
        standing = _standing(recordings)
        return {
            "carried": {**_by_start(carried, early), **_stopped(carried, standing)},
            "windows": {**_by_start(windows, early), **_stopped(windows, standing)},
            "recordings": len(recordings.walks),
            **_speed(answers, stream.hop_us),
        }

    def _film(self, record: Record, answers: int, hop_us: int) -> Film | None:
        """A film of a recording that begins, if it is the first and films are asked for."""
        if self.films is None or self.films:
            return None
        assert record.path is not None
        film = Film(
            record.path.name, answers, hop_us, record.size_hw, self.data.class_names, FILM_SCORE, limit=film_limit()
        )
        self.films.append(film)
        return film


def _in_sensor(id: int, size_hw: tuple[int, int]) -> Sample:
    """A sample whose frames are the sensor's, in whose px the answers of a stream are."""
    return Sample(Targets.none().boxes_xyxy, Targets.none(), id, str(id), size_hw)


def _by_start(evaluator: CocoEvaluator, early: set[int]) -> dict[str, Any]:
    later = evaluator.found.keys() - early
    return {
        **_scores(evaluator),
        "early": _scores(evaluator.of(early)) if early else None,
        "later": _scores(evaluator.of(later)) if later else None,
    }


def _standing(recordings: EventDataset) -> dict[int, Standing]:
    """By the number of a sample, how long its objects have stood still, of recordings that say so."""
    found = {}
    for _, indices in recordings.walks:
        path = recordings.records[indices[0]].path
        assert path is not None
        base = path.name.removesuffix(RECORDING)
        if not path.with_name(base + STOPS).exists():
            continue
        boxes = read_boxes(path.with_name(base + BOXES))
        since_us = stopped_for_us(boxes, read_stops(path.with_name(base + STOPS)))
        for index in indices:
            record = recordings.records[index]
            at = boxes.t_us == record.t_us
            true = Targets(
                torch.from_numpy(boxes.boxes_xyxy[at].astype(np.float32)),
                torch.from_numpy(boxes.class_id[at]),
                torch.zeros(int(at.sum()), dtype=torch.bool),
            )
            found[record.id] = Standing(true, since_us[at])
    return found


def _stopped(evaluator: CocoEvaluator, standing: Mapping[int, Standing]) -> dict[str, Any]:
    """The recall of objects that stand still, if any are known to."""
    seen = [image for image in standing if image in evaluator.found]
    if not seen:
        return {}
    found = [_detections(evaluator.found[image]) for image in seen]
    return {"stopped": stopped_recall(found, [standing[image] for image in seen])}


def _detections(rows: NDArray[np.float64]) -> Detections:
    """Rows of x, y, w, h, score, label as detections."""
    corners = torch.from_numpy(np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4]), axis=1))
    return Detections(corners, torch.from_numpy(rows[:, 4]), torch.from_numpy(rows[:, 5]).long())


def _scores(evaluator: CocoEvaluator) -> dict[str, Any]:
    found: Mapping[str, Any] = evaluator.compute()
    return {name: found[name] for name in (*SCORES, "images")}


def _speed(answers: list[Answer], hop_us: int) -> dict[str, Any]:
    return {**speed_of(answers, hop_us), "steps": len(answers)}
