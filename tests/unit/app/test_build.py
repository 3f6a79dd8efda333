"""From a config to objects: what the data decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.errors import InstantiationException

from emsyolo.app.build import build_detector, data_of, detector_of, fit_to_data
from emsyolo.app.config import compose_config


@pytest.mark.parametrize(
    ("typed", "shape"),
    [
        (["model=spiking_yolo"], [5]),
        (["model=ems_small"], [3, 3]),
        (["model=ems_small", "model.anchors_per_level=[2,2]"], [2, 2]),
    ],
)
def test_as_many_anchors_are_found_as_the_model_has(tmp_path: Path, typed: list[str], shape: list[int]) -> None:
    cfg = compose_config("train", [*typed, "model.width=0.125", "dataset.limit=8", f"data_dir={tmp_path}"])
    fit_to_data(cfg, data_of(cfg))
    assert [len(level) for level in cfg.model.anchors] == shape
    areas = [w * h for level in cfg.model.anchors for w, h in level]
    assert areas == sorted(areas)
    assert tuple(detector_of(cfg).head.anchors.shape) == (len(shape), shape[0], 2)


def test_anchors_for_two_maps_are_refused_where_there_is_one() -> None:
    with pytest.raises(
        InstantiationException, match=r"expected \[5\] of them for the strides \[32\]; model\.anchors=auto"
    ):
        build_detector("spiking_yolo", 3, 1)
