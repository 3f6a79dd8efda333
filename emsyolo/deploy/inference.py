"""A trained detector, made ready to answer fast."""

from __future__ import annotations

import copy
import logging

import torch

from emsyolo.convert.fold import fold_normalisation
from emsyolo.deploy.graph import Graphed
from emsyolo.deploy.int8 import to_int8
from emsyolo.deploy.unroll import unrolled
from emsyolo.device import device_of, has_bfloat16
from emsyolo.model.detector import Detector
from emsyolo.text import shortlist

log = logging.getLogger(__name__)
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
DTYPES |= {"int8": torch.float32, "int8-bf16": torch.bfloat16}  # of all but the convolutions of spikes


def for_inference(
    detector: Detector, device: torch.device, *, precision: str | int = 32, unroll: bool = False
) -> Detector:
    """A copy of a detector for evaluation and prediction: its normalisation folded into its convolutions.

    The maps are the same up to rounding (in float32 to about 1e-5, but a potential that close to the threshold may
    fire where it did not). In half precision the spikes are exact, weights and potentials' inputs are rounded; the last
    1x1 convolutions, whose outputs become pixels, stay in float32.

    Args:
        detector: on any device; left untouched.
        device: of the copy.
        precision: `32`, `bf16`, `16`, `int8` or `int8-bf16` (on a CPU: as 32 or bf16, but the convolutions of spikes in
            8 bits), or `auto`: bf16 where the device computes in it, else 32.
        unroll: run convolutions of integer spikes on planes of 0 and 1 (`deploy.unroll`).

    Raises:
        ValueError: an unknown precision, or int8 elsewhere than on a CPU.
    """
    name = str(precision)
    if name == "auto":
        name = "bf16" if has_bfloat16(device) else "32"
    if name not in DTYPES:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}, auto")
    if unroll:
        ready = unrolled(detector)
    else:
        ready = copy.deepcopy(detector).eval().requires_grad_(requires_grad=False)
        fold_normalisation(ready)
    dtype = DTYPES[name]
    for part in (ready.backbone, ready.neck):
        part.to(dtype)
    if name.startswith("int8"):
        if device.type != "cpu":
            raise ValueError(f"precision is {name}, which runs on a CPU; the device is {device}; use bf16 or 16")
        left = to_int8(ready)
        log.info("precision=%s: %d convolutions stay as they are: %s", name, len(left), shortlist(left))
    if device.type != "cpu" or name != "bf16":
        # As for training: oneDNN convolves NCHW faster in bfloat16, channels_last in float32; 8 bits are channels_last.
        ready.to(memory_format=torch.channels_last)
    ready.to(device)
    return ready


def quicken(detector: Detector, compiled: bool | str) -> None:
    """Let calls of a detector run faster, in place.

    Args:
        detector: for inference, on its device.
        compiled: `true`, by torch.compile; `graph`, by CUDA graphs (`deploy.graph`); `false`, not at all.

    Raises:
        ValueError: another word, or graphs elsewhere than on a CUDA device.
    """
    if compiled == "graph":
        device = device_of(detector)
        if device.type != "cuda":
            raise ValueError(f"compile=graph, which needs a CUDA device; the device is {device}; use compile=true")
        detector.forward = Graphed(detector.forward)  # type: ignore[assignment, method-assign]
    elif isinstance(compiled, str):
        raise ValueError(f"compile is {compiled!r}; expected true, false or graph")
    elif compiled:
        detector.compile()
