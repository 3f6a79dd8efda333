"""The task of predict.py."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torchvision.io import write_png

from emsyolo.app.build import fit_of
from emsyolo.app.checkpoint import find_checkpoint, trained_detector
from emsyolo.app.config import Asked, saved_config, with_checkpoint
from emsyolo.app.fitting import fitting
from emsyolo.app.folder import new_folder
from emsyolo.app.found import detect, write_predictions
from emsyolo.app.stream import predict_stream
from emsyolo.app.video import SUFFIXES as VIDEOS
from emsyolo.app.video import first_frame, predict_video
from emsyolo.bar import bar
from emsyolo.dataset.event.recording import SUFFIXES as RECORDINGS
from emsyolo.dataset.pixels import SUFFIXES, read_image
from emsyolo.deploy.inference import for_inference, quicken
from emsyolo.device import named_device
from emsyolo.io import written_whole
from emsyolo.report.boxes import draw_boxes
from emsyolo.report.results import coco_results
from emsyolo.types import Sample, Targets
from emsyolo.weights.checkpoint import Weights

LOOKED_AT = 8  # pictures, to choose a detector of the zoo by
log = logging.getLogger(__name__)
ALONG_TIME = {**dict.fromkeys(RECORDINGS, predict_stream), **dict.fromkeys(VIDEOS, predict_video)}


def sources_of(value: Any) -> list[str]:
    """What was typed as `source`: a path, or a list of them."""
    values = list(value) if OmegaConf.is_list(value) else [value]
    texts = ["" if item is None else str(item).strip() for item in values]  # 0 is typed as a number
    if not texts or not all(texts):
        raise ValueError(f"source={value}: expected an image, a folder of images, a video or a recording")
    return texts


def image_paths(source: Path) -> list[Path]:
    """The images that `source` means: itself, those in the folder (not in folders within), or those of a pattern.

    Args:
        source: of a pattern, `*`, `?` and `**` stand for what they stand for in a shell.

    Returns:
        By name.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a folder without images.
    """
    if source.is_file():
        return [source]
    if not source.exists() and any(sign in str(source) for sign in "*?"):
        fitting = map(Path, glob(str(source), recursive=True))  # noqa: PTH207 - a pattern may be absolute
        found = sorted(path for path in fitting if path.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(f"source={source}: no image fits this pattern")
        return found
    if not source.is_dir():
        raise FileNotFoundError(
            f"source={source}: no such file or folder; give an image, a folder of images, a video or a recording"
            f"{' (cameras are not read: record a video)' if str(source).isdigit() else ''}"
        )
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"source={source}: no image in this folder; looked for {', '.join(SUFFIXES)}")
    return paths


def picture_paths(paths: Sequence[Path], out: Path) -> list[Path]:
    """Where the picture of each image goes: `NAME.png`, or `NAME.jpg.png` where two images have one name.

    Raises:
        ValueError: a picture would overwrite an image.
    """
    stems = Counter(path.stem.lower() for path in paths)  # a disk may not tell A from a
    written = [out / f"{path.stem if stems[path.stem.lower()] == 1 else path.name}.png" for path in paths]
    images = {path.resolve() for path in paths}
    for path in written:
        if path.resolve() in images:
            raise ValueError(f"out={out}: {path.name} would overwrite an image of the source; give another folder")
    return written


def samples_of(paths: list[Path]) -> Iterator[Sample]:
    """Images as samples without truth, upright by EXIF; an unreadable one is reported by name and left out."""
    for i, path in enumerate(paths):
        try:
            image = read_image(path, upright=True)
        except ValueError as error:
            log.warning("%s cannot be read and is left out (%s)", path, str(error).removeprefix(f"{path}: "))
            continue
        yield Sample(image[None], Targets.none(), i, path.name, (image.shape[1], image.shape[2]))


@torch.inference_mode()
def predict(asked: Asked) -> None:
    """Detect in images, a video or along a recording; write pictures and `predictions.json`."""
    cfg = asked.cfg
    sources = [Path(path) for path in sources_of(cfg.source)]
    source = sources[0]
    along_time = ALONG_TIME.get(source.suffix.lower()) if len(sources) == 1 else None
    paths = [] if along_time else list(dict.fromkeys(path for source in sources for path in image_paths(source)))
    weights = find_checkpoint(asked, lambda: fitting(cfg, Path(cfg.runs_dir), _first_of(source, paths)))
    cfg = with_checkpoint(asked, weights)
    _check_source(weights, source)
    class_names = weights.config["class_names"]
    device = named_device(cfg.device)
    detector = for_inference(trained_detector(cfg, weights), device, precision=cfg.precision, unroll=cfg.unroll)
    quicken(detector, cfg.compile)
    if cfg.out is None:
        out = new_folder(Path(cfg.runs_dir) / "predict", time.strftime("%Y-%m-%d_%H-%M-%S"))
    else:
        out = Path(cfg.out)
    if along_time:
        log.info("checkpoint %s (model %s)", weights.path, weights.config["model"])
        along_time(cfg, detector, class_names, source, out)
        return
    postprocess = instantiate(cfg.postprocess)
    fit = fit_of(cfg)
    log.info("checkpoint %s (model %s), %d images", weights.path, weights.config["model"], len(paths))

    pictures = picture_paths(paths, out)
    images, results = [], []
    for sample in bar(samples_of(paths), "detecting", total=len(paths)):
        found = detect(sample, detector, postprocess, fit)
        images.append(
            {"id": sample.id, "file_name": sample.name, "height": sample.original_hw[0], "width": sample.original_hw[1]}
        )
        results += coco_results(sample.id, found)
        _write_picture(pictures[sample.id], draw_boxes(sample.frames[0], found, class_names))
    if not images:
        raise ValueError(f"source={cfg.source}: none of its {len(paths)} images can be read")
    write_predictions(out, images, results, class_names)
    log.info("%d boxes on %d images; written: %s", len(results), len(images), out)


def _check_source(weights: Weights, source: Path) -> None:
    """Refuse images where the detector knows events, and the other way round."""
    events, recording = "representation" in saved_config(weights).dataset, source.suffix.lower() in RECORDINGS
    if events != recording:
        known, wanted = (
            ("events", f"a recording ({', '.join(RECORDINGS)})") if events else ("images", "images or a video")
        )
        raise ValueError(
            f"source={source}: the checkpoint {weights.path} was trained on {known}; expected {wanted}, or another "
            "checkpoint=PATH"
        )


def _first_of(source: Path, paths: list[Path]) -> Callable[[], Iterable[Sample]] | None:
    """What reads the first pictures of a source; None: a recording of events."""
    if paths:
        return lambda: islice(samples_of(paths), LOOKED_AT)
    return (lambda: [first_frame(source)]) if source.suffix.lower() in VIDEOS else None


def _write_picture(path: Path, image: Tensor) -> None:
    with written_whole(path) as temporary:
        write_png(image, str(temporary))
