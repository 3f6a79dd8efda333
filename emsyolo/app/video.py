"""The task of predict.py on a video."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import track

from emsyolo.app.build import data_of
from emsyolo.app.found import detect, write_predictions
from emsyolo.model.detector import Detector
from emsyolo.report.boxes import draw_boxes
from emsyolo.report.results import coco_results
from emsyolo.types import Sample, Targets
from emsyolo.weights.atomic import written_whole

log = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


def predict_video(cfg: DictConfig, detector: Detector, class_names: list[str], source: Path, out: Path) -> None:
    """Detect in every frame; write the annotated video as MP4 and `predictions.json`, whose images are frames.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, a detector of events, an `out` that is the video's own folder, or no PyAV.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ValueError(f"source={source} is a video; reading it needs PyAV: pip install 'emsyolo[video]'") from error
    if "representation" in cfg.dataset:
        raise ValueError(f"source={source} is a video, but the checkpoint was trained on events")
    if not source.is_file():
        raise FileNotFoundError(f"source={source}: no such file")
    if (out / f"{source.stem}.mp4").resolve() == source.resolve():
        raise ValueError(f"out={out} would overwrite source={source}; give another folder")
    postprocess, fit = instantiate(cfg.postprocess), data_of(cfg).fit
    nothing = Targets(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.bool))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    busy = 0.0
    try:
        with av.open(str(source)) as video, written_whole(out / f"{source.stem}.mp4") as path:
            stream = video.streams.video[0]
            stream.thread_type = "AUTO"
            with av.open(str(path), "w", format="mp4") as target:
                track_out = target.add_stream("libx264", rate=stream.average_rate or 25)
                # The codec takes even sides alone.
                track_out.width, track_out.height = stream.width // 2 * 2, stream.height // 2 * 2
                track_out.pix_fmt = "yuv420p"
                frames = track(
                    _frames(video, stream, source), description="detecting", total=stream.frames or None, transient=True
                )
                for i, frame in enumerate(frames):
                    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()
                    began = time.perf_counter()
                    sample = Sample(pixels[None], nothing, i, f"frame {i}", (pixels.shape[1], pixels.shape[2]))
                    found = detect(sample, detector, postprocess, fit)
                    busy += time.perf_counter() - began
                    height, width = pixels.shape[1:]
                    images.append(
                        {"id": i, "file_name": source.name, "t_s": frame.time, "height": height, "width": width}
                    )
                    annotations += coco_results(i, found)
                    drawn = draw_boxes(pixels, found, class_names)[:, : track_out.height, : track_out.width]
                    picture = av.VideoFrame.from_ndarray(drawn.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
                    target.mux(track_out.encode(picture))
                target.mux(track_out.encode(None))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"source={source} cannot be read as a video ({error})") from error
    if not images:
        raise ValueError(f"source={source}: no frame in this video")
    write_predictions(out, images, annotations, class_names)
    log.info(
        "%d boxes on %d frames, %.1f images/s; written: %s", len(annotations), len(images), len(images) / busy, out
    )


def _frames(video: Any, stream: Any, source: Path) -> Iterator[Any]:
    """The frames; of a video that is damaged after its first, those before the damage."""
    from av import FFmpegError

    frames, first = video.decode(stream), True
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except FFmpegError as error:
            if first:
                raise
            log.warning("source=%s is damaged (%s); what comes before is written", source, error)
            return
        first = False
        yield frame
