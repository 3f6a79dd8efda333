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
from torch import Tensor

from emsyolo.app.build import fit_of
from emsyolo.app.found import detect, write_predictions
from emsyolo.bar import bar
from emsyolo.io import written_whole
from emsyolo.model.detector import Detector
from emsyolo.report.boxes import draw_boxes
from emsyolo.report.results import coco_results
from emsyolo.types import Sample, Targets

log = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


def predict_video(cfg: DictConfig, detector: Detector, class_names: list[str], source: Path, out: Path) -> None:
    """Detect in every frame; write the annotated video as MP4 and `predictions.json`, whose images are frames.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, a detector of events, an `out` that is the video's own folder, or no PyAV.
    """
    av = _av(source)
    if "representation" in cfg.dataset:
        raise ValueError(f"source={source} is a video, but the checkpoint was trained on events")
    if not source.is_file():
        raise FileNotFoundError(f"source={source}: no such file")
    if (out / f"{source.stem}.mp4").resolve() == source.resolve():
        raise ValueError(f"out={out} would overwrite source={source}; give another folder")
    postprocess, fit = instantiate(cfg.postprocess), fit_of(cfg)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    busy = 0.0
    try:
        with av.open(str(source)) as video, written_whole(out / f"{source.stem}.mp4") as path:
            if not video.streams.video:
                raise ValueError(f"source={source}: no pictures in this video, only sound")
            stream = video.streams.video[0]
            stream.thread_type = "AUTO"
            with av.open(str(path), "w", format="mp4") as target:
                writer = _Writer(target, stream)
                frames = bar(_frames(video, stream, source), "detecting", total=stream.frames or None)
                for i, frame in enumerate(frames):
                    pixels = upright(frame)
                    began = time.perf_counter()
                    sample = Sample(pixels[None], Targets.none(), i, f"frame {i}", (pixels.shape[1], pixels.shape[2]))
                    found = detect(sample, detector, postprocess, fit)
                    busy += time.perf_counter() - began
                    height, width = pixels.shape[1:]
                    images.append(
                        {"id": i, "file_name": source.name, "t_s": frame.time, "height": height, "width": width}
                    )
                    annotations += coco_results(i, found)
                    writer.write(draw_boxes(pixels, found, class_names), frame)
                if not images:
                    raise ValueError(f"source={source}: no frame in this video")
                writer.close()
    except av.FFmpegError as error:
        raise ValueError(f"source={source} cannot be read as a video ({error})") from error
    write_predictions(out, images, annotations, class_names)
    log.info(
        "%d boxes on %d frames, %.1f images/s; written: %s", len(annotations), len(images), len(images) / busy, out
    )


def _av(source: Path) -> Any:
    """PyAV, or in words that it is not there."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise ValueError(f"source={source} is a video; reading it needs PyAV: pip install 'emsyolo[video]'") from error
    return av


def first_frame(source: Path) -> Sample:
    """The first frame of a video, without truth.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, or no PyAV.
    """
    av = _av(source)
    if not source.is_file():
        raise FileNotFoundError(f"source={source}: no such file")
    try:
        with av.open(str(source)) as video:
            pixels = upright(next(video.decode(video=0)))
    except (av.FFmpegError, StopIteration, IndexError) as error:
        raise ValueError(f"source={source} cannot be read as a video ({error or 'no frame in it'})") from error
    return Sample(pixels[None], Targets.none(), 0, source.name, (pixels.shape[1], pixels.shape[2]))


def upright(frame: Any) -> Tensor:
    """The pixels `[3, H, W]` uint8 of a frame, turned as the video's display matrix says, by quarters."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
    return torch.rot90(pixels, round(frame.rotation / 90) % 4, (1, 2)).contiguous()


class _Writer:
    """Writes frames with the times that they have in the source.

    Args:
        target: an opened container.
        stream: of the source.
    """

    def __init__(self, target: Any, stream: Any) -> None:
        self._target = target
        self._source = stream
        self._out: Any = None
        self._last = -1

    def write(self, pixels: Tensor, frame: Any) -> None:
        """Add pixels `[3, H, W]` at the time of a frame of the source; the first one decides the size."""
        from av import VideoFrame

        rate = self._source.average_rate or 25
        if self._out is None:
            self._out = self._target.add_stream("libx264", rate=rate)
            # The codec takes only even sides.
            self._out.width, self._out.height = pixels.shape[2] // 2 * 2, pixels.shape[1] // 2 * 2
            self._out.pix_fmt = "yuv420p"
            self._out.codec_context.time_base = self._source.time_base
        step = max(1, round(1 / (rate * self._source.time_base)))
        pts = self._last + step if frame.pts is None else max(frame.pts, self._last + 1)
        cut = pixels[:, : self._out.height, : self._out.width]
        picture = VideoFrame.from_ndarray(cut.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
        if cut.shape[1:] != (self._out.height, self._out.width):  # a video that changes its size
            picture = picture.reformat(self._out.width, self._out.height)
        picture.pts, picture.time_base = pts, self._source.time_base
        self._last = pts
        self._target.mux(self._out.encode(picture))

    def close(self) -> None:
        """Write what the codec still holds."""
        self._target.mux(self._out.encode(None))


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
