"""A detector along a stream: warmed up before a window, or read out at labelled times while its state is carried on."""

from __future__ import annotations

import torch

from emsyolo.device import sent
from emsyolo.model.detector import Detector
from emsyolo.neuron.state import State
from emsyolo.types import Batch, HeadMaps


@torch.no_grad()
def warmed_up(detector: Detector, batch: Batch) -> State | None:
    """What a network remembers of the frames before a batch, run without gradient or a move of running statistics.

    The state need not come from the beginning of a recording: at a decay of 0.25 a potential is down to 2 % after three
    steps. That a random number of steps before each training window is enough was shown, for a network that is streamed
    afterwards, by Khitushkin (2025, github.com/KirillHit/twl_spike_yolo).

    Args:
        detector: normalises with its running statistics meanwhile, so that no sample depends on the others.
        batch: each sample begins from nothing with the frames that lead up to its own, on the detector's device.

    Returns:
        None if no sample has any.
    """
    if batch.before is None:
        return None
    before, lead = batch.before, [sample.lead for sample in batch.samples]
    training = [module for module in detector.modules() if module.training]
    detector.eval()
    parts = []
    for count in sorted({*lead} - {0}):
        places = [i for i, one in enumerate(lead) if one == count]
        at = sent(torch.tensor(places), before.device)
        frames = before[len(before) - count :].index_select(1, at).repeat_interleave(_shown(detector, batch), dim=0)
        _, state = detector.run(frames, read_out=[range(len(frames) - 1, len(frames))], steps=len(frames))
        parts.append((state, at))
    for module in training:
        module.training = True
    # Under autocast the casts of weights are kept, and these have no gradient.
    torch.clear_autocast_cache()
    return State.joined(parts, len(lead)) if parts else None


def read_along(detector: Detector, batch: Batch, state: State | None) -> tuple[HeadMaps, State]:
    """The head maps of a batch of clips, one row for each of its samples, and what the network remembers after it.

    Args:
        detector: on the device of the batch.
        batch: of clips.
        state: after the last batch; places that do not go on from it begin from nothing. None: all do.
    """
    assert batch.reads is not None
    assert batch.goes_on is not None
    if state is not None:
        state = state.where(batch.goes_on)
    shown = _shown(detector, batch)
    spans = sorted({read.frames for read in batch.reads}, key=lambda span: (span.stop, span.start))
    frames = batch.frames.repeat_interleave(shown, dim=0)
    steps = [range(span.start * shown, span.stop * shown) for span in spans]
    maps, after = detector.run(frames, state, steps, len(frames))
    count = batch.frames.shape[1]
    rows = [spans.index(read.frames) * count + read.place for read in batch.reads]
    at = sent(torch.tensor(rows, dtype=torch.int64), batch.frames.device)
    return HeadMaps(tuple(level[at] for level in maps.maps), maps.layout), after


def _shown(detector: Detector, batch: Batch) -> int:
    """Steps for which each frame is shown: one, or T where a window is a single frame."""
    return detector.T // (batch.window or len(batch.frames))
