"""A few images looked at once more, step by step: what is found after each, and where the neurons have fired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from emsyolo.app.passes import Passes
from emsyolo.app.sheets import Drawing, Look
from emsyolo.device import device_of
from emsyolo.evaluator.firing import glimpses
from emsyolo.model.postprocess import Postprocess
from emsyolo.neuron.neuron import waits_for_all
from emsyolo.report.events import picture
from emsyolo.report.gallery import Gallery, Sheet, Tile

AT_ONCE = 8  # images
EVERY_STEP = 16  # up to which T all steps are shown, and not only the read-outs
HEAT_PX = 64  # the longer side of a map
WORDS = {
    "best": ("The best images", "By the F1 score of the image at IoU 0.5."),
    "worst": ("The worst images", "By the same score; what was missed stands dashed, with nothing beside it."),
}


def gallery_of(
    passes: Passes,
    postprocess: Postprocess,
    chosen: Sequence[Look],
    extremes: Mapping[str, Sequence[Look]],
    class_names: Sequence[str],
    drawing: Drawing,
) -> Gallery:
    """The images of a page.

    Args:
        passes: the detector, on its device.
        postprocess: head maps to detections.
        chosen: a choice of images.
        extremes: `best` and `worst`.
        class_names: the labels' names, in order.
        drawing: what is drawn.
    """
    looks = {look.place: look for look in (*chosen, *(look for rows in extremes.values() for look in rows))}
    times = shown_times(passes)
    stops = [*map(str, times), *(["ANN"] if passes.ann is not None else [])]
    listed, tiles = list(looks.values()), {}
    for first in range(0, len(listed), AT_ONCE):
        group = listed[first : first + AT_ONCE]
        for look, tile in zip(group, _tiles(passes, postprocess, group, times), strict=True):
            tiles[look.place] = tile
    sheets = [Sheet("detections", "Detections", "Images spread over the set.", [(one.place, "") for one in chosen])]
    for key, (title, note) in WORDS.items():
        if extremes.get(key):
            sheets.append(Sheet(key, title, note, [(look.place, look.note) for look in extremes[key]]))
    return Gallery(stops, tiles, sheets, class_names, drawing.score_threshold)


def shown_times(passes: Passes) -> tuple[int, ...]:
    """The steps after which a page shows a network: all of them, or of many the read-outs."""
    last = passes.times[-1]
    few = last <= EVERY_STEP and waits_for_all(passes.detector) is None
    return tuple(range(1, last + 1)) if few else passes.times


def _tiles(passes: Passes, postprocess: Postprocess, group: Sequence[Look], times: Sequence[int]) -> Iterator[Tile]:
    frames = torch.stack([look.frames for look in group], dim=1).to(device_of(passes.detector))
    height, width = frames.shape[-2:]
    scale = HEAT_PX / max(height, width)
    seen = list(glimpses(passes.detector, frames, times, size_hw=(round(height * scale), round(width * scale))))
    found = [postprocess(one.maps) for one in seen]
    if passes.ann is not None:
        found.append(postprocess(passes.ann(frames)))
    for i, look in enumerate(group):
        firing = [{name: values[i] for name, values in one.firing.items()} for one in seen]
        yield Tile(
            look.name,
            _pictures(look.frames, times, len(found)),
            look.truth,
            [of_all[i] for of_all in found],
            firing if firing[0] else (),
        )


def _pictures(frames: Tensor, times: Sequence[int], stops: int) -> list[Tensor]:
    """Of a still image one picture; of events the frame of every stop."""
    if len(frames) == 1:
        return [picture(frames[0])]
    shown = [picture(frames[min(t, len(frames)) - 1]) for t in times]
    return [*shown, *shown[-1:] * (stops - len(shown))]
