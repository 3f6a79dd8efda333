"""`event_coco`: recordings of any layout, with boxes in COCO's JSON form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emsyolo.bar import bar
from emsyolo.dataset.check import Ledger, clean_boxes, refuse_shares, report_left_out, require_images
from emsyolo.dataset.coco import read_coco
from emsyolo.dataset.event.dataset import EventDataset, report_times_outside
from emsyolo.dataset.event.recording import open_recording
from emsyolo.dataset.images import plain_record
from emsyolo.dataset.values import inside

PROGRESS_FROM = 100  # labelled times


class EventCoco(EventDataset):
    """Labelled times of recordings, listed as the images of a COCO annotation file.

    An image's `file_name` is the recording, within `recordings`; `t_us` the time at which its boxes are true (left out:
    just after the last event); `height` and `width` those of the sensor. Every recording is opened once; those that
    cannot be read, and annotations that cannot be used, are left out and named.

    Args:
        root: folder of the data set.
        recordings: folder of the recordings, within the root.
        json: annotation file, within the root.
        class_names: order of the labels, if it is not to be the file's.
        limit: number of images of the file, from the first on.
        max_bad: share of the annotations that may be left out.
        encoding: of the file, where it is not UTF-8 and has no byte order mark.
        options: of `EventDataset`.

    Raises:
        FileNotFoundError: the annotation file is not there.
        ValueError: a file that is not COCO's form, too many annotations that cannot be used, no usable recording.
    """

    def __init__(
        self,
        root: str | Path,
        recordings: str,
        json: str,
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
        max_bad: float = 0.05,
        encoding: str | None = None,
        **options: Any,
    ) -> None:
        root = Path(root)
        folder, file = root / recordings, root / json
        name = f"event_coco/{file.name}"
        ledger, of_images = Ledger(name, max_bad), Ledger(name, max_bad, of="images")
        content = read_coco(file, class_names, ledger, of_images, limit=limit, encoding=encoding)
        of_images.close(content.listed)
        ledger.close(content.annotations)
        records, reasons = [], {}
        spans: dict[Path, tuple[int, int]] = {}
        sensors: dict[Path, tuple[int, int] | None] = {}
        hidden = len(content.images) < PROGRESS_FROM
        for one in bar(content.images, f"opening {name}", hidden=hidden):
            path = folder / one.file_name
            try:
                if one.size_hw is None:
                    raise ValueError("no height and width of the sensor in the annotation file")
                path = inside(root, folder, one.file_name, "file_name")
                if path not in spans:
                    recording = open_recording(path, one.size_hw)
                    sensors[path] = recording.sensor_hw
                    spans[path] = (recording.first_us, recording.last_us)
                if sensors[path] != one.size_hw:
                    raise ValueError(
                        f"its sensor has {sensors[path]} px (height, width), and {one.size_hw} in the annotation file"
                    )
            except (ValueError, OSError) as error:
                reasons[path] = str(error).removeprefix(f"{path}: ")
                continue
            marks, t_us = one.marks, spans[path][1] + 1 if one.t_us is None else one.t_us
            records.append(
                plain_record(
                    one.id, path, one.size_hw, marks.boxes(), marks.labels, crowd=marks.crowd,
                    difficult=marks.difficult, area=marks.area, t_us=t_us,
                )
            )  # fmt: skip
        report_left_out(reasons, len(content.images), name)
        require_images(records, name, f"{folder} for the {len(content.images)} recordings of {file}")
        refuse_shares(records, name)
        super().__init__(clean_boxes(records, name), content.class_names, name, **options)
        report_times_outside(records, spans, self.framing.window_us, name)
