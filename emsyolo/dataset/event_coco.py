"""`event_coco`: recordings of any layout, with boxes in COCO's JSON form."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emsyolo.dataset.check import clean_boxes, first, report_left_out, require_images
from emsyolo.dataset.coco import marks_by_image, read_json, record_of
from emsyolo.dataset.event.dataset import EventDataset
from emsyolo.dataset.event.recording import open_recording

log = logging.getLogger(__name__)


class EventCoco(EventDataset):
    """Labelled times of recordings, listed as the images of a COCO annotation file.

    An image's `file_name` is the recording, within `recordings`; `t_us` the time at which its boxes are true (left out:
    just after the last event); `height` and `width` those of the sensor. Recordings that cannot be read are left out
    and named.

    Args:
        root: folder of the data set.
        recordings: folder of the recordings, within the root.
        json: annotation file, within the root.
        class_names: order of the labels, if it is not to be the file's.
        limit: only the first so many images of the file.
        options: of `EventDataset`.

    Raises:
        FileNotFoundError: the annotation file is not there.
        ValueError: a file that is not COCO's form, an annotation of an unknown image or category, no usable recording.
    """

    def __init__(
        self,
        root: str | Path,
        recordings: str,
        json: str,
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        folder, file = Path(root) / recordings, Path(root) / json
        name = f"event_coco/{file.name}"
        content = read_json(file)
        names = [str(category["name"]) for category in content["categories"]] if class_names is None else class_names
        marks = marks_by_image(content, list(names), file)
        records, reasons = [], {}
        for image in first(content["images"], limit):
            path = folder / image["file_name"]
            size_hw = (int(image["height"]), int(image["width"]))
            try:
                t_us = image.get("t_us")
                t_us = open_recording(path, size_hw).last_us + 1 if t_us is None else int(t_us)
            except (ValueError, OSError) as error:
                reasons[path] = str(error).removeprefix(f"{path}: ")
                continue
            records.append(record_of(image["id"], path, size_hw, marks[image["id"]], t_us=t_us))
        report_left_out(reasons, len(content["images"]), name)
        require_images(records, name, f"{folder} for the {len(content['images'])} recordings of {file}")
        super().__init__(clean_boxes(records, name), names, name, **options)
