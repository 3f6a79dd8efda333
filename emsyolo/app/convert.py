"""The part of evaluate.py and export.py that makes a spiking network of a detector trained as an ANN."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from emsyolo.convert.converter import Conversion, convert
from emsyolo.convert.error import layer_errors
from emsyolo.dataset.datamodule import DataModule
from emsyolo.device import device_of
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.report.by_time import error_bars
from emsyolo.report.table import errors_table, show
from emsyolo.weights.checkpoint import MEASURED, Weights, save_weights


def converted(ann: Detector, data: DataModule, settings: Conversion, T: int) -> tuple[Detector, list[Tensor]]:
    """The spiking network for T steps, and the frames that it was calibrated on.

    Args:
        ann: trained, on its device.
        data: its training set is calibrated on.
        settings: of the conversion.
        T: steps.

    Raises:
        ValueError: a network that cannot be converted.
    """
    ann.eval().to(memory_format=torch.contiguous_format)
    ann.T = 1  # an ANN's own
    frames = calibration_frames(data, settings.images, device_of(ann))
    calibrated = replace(settings, T=T)
    spiking = convert(ann, lambda: frames, calibrated)
    spiking.T = T
    return spiking, frames


def save_converted(path: Path, spiking: Detector, weights: Weights, settings: Conversion) -> None:
    """Write a converted network with its thresholds and rule, as a checkpoint that every task takes.

    Args:
        path: of the `.safetensors`.
        spiking: the network.
        weights: those of the ANN, whose config rebuilds it.
        settings: of the conversion.

    Raises:
        OSError: the file could not be written.
    """
    save_weights(path, spiking, conversion_config(weights, settings, spiking.T))


def conversion_config(weights: Weights, settings: Conversion, T: int) -> dict[str, Any]:
    """What rebuilds a converted network, from what rebuilds its ANN."""
    config = OmegaConf.create(weights.config["config"])
    config.T = T
    config.convert = {}  # it is done
    plain = OmegaConf.to_container(config, resolve=False)
    about = {key: value for key, value in weights.config.items() if key != MEASURED}  # of the ANN
    return {**about, "config": plain, "conversion": asdict(replace(settings, T=T))}


def error_report(spiking: Detector, ann: Detector, frames: Tensor, out: Path) -> list[dict[str, Any]]:
    """The error of every layer, as rows for `metrics.json`; writes `errors.csv` and `errors.png`, prints a table."""
    errors = [asdict(layer_error) for layer_error in layer_errors(spiking, ann, [frames], spiking.T)]
    with written_whole(out / "errors.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(errors[0]))
        writer.writeheader()
        writer.writerows(errors)
    error_bars(out / "errors.png", errors, spiking.T)
    show(errors_table(errors))
    return errors


def calibration_frames(data: DataModule, images: int, device: torch.device) -> list[Tensor]:
    """Frames of training images as they are evaluated, in batches `[1, N, C, H, W]`."""
    frames: list[Tensor] = []
    for batch in data.calibration_loader():
        frames.append(batch.frames[:, : images - sum(frame.shape[1] for frame in frames)].to(device))
        if sum(frame.shape[1] for frame in frames) >= images:
            break
    return frames
