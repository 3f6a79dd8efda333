from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from emsyolo.dataset import digits as module
from emsyolo.dataset.augment import Letterbox
from emsyolo.dataset.digits import Digits, scans, scene_at
from emsyolo.dataset.scene import LUMINANCE, contrasting_colour, covered, free_place, ink, ink_box, scene


def test_the_1797_scans_are_split_without_overlap() -> None:
    train, train_digits = scans("train")
    test, test_digits = scans("test")
    assert (len(train), len(test)) == (1437, 360)
    shared = {one.tobytes() for one in train} & {one.tobytes() for one in test}
    assert not shared
    assert np.ptp(np.bincount(test_digits)) <= 2
    assert np.bincount(np.concatenate([train_digits, test_digits])).sum() == 1797


def test_a_scene_keeps_the_fixed_facts() -> None:
    for index in range(40):
        one = scene_at(index, "train")
        assert one.image.shape == (96, 128, 3)
        assert one.image.dtype == np.uint8
        assert 1 <= len(one.digits) == len(one.boxes_xyxy) <= 6
        x0, y0, x1, y1 = one.boxes_xyxy.T
        assert (x0 >= 0).all()
        assert (y0 >= 0).all()
        assert (x1 <= 128).all()
        assert (y1 <= 96).all()
        assert (x1 > x0).all()
        assert (np.maximum(x1 - x0, y1 - y0) <= 48).all()
        for i, box in enumerate(one.boxes_xyxy):
            for other in one.boxes_xyxy[:i]:
                sides = (np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])).clip(0)
                assert sides.prod() <= 0.3 * min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod())


def test_scenes_have_one_to_six_digits_of_every_class() -> None:
    scenes = [scene_at(i, "train") for i in range(60)]
    assert {len(one.digits) for one in scenes} == {1, 2, 3, 4, 5, 6}
    assert set(np.concatenate([one.digits for one in scenes])) == set(range(10))


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    again, other = scene_at(5, "test"), scene_at(6, "test")
    np.testing.assert_array_equal(scene_at(5, "test").image, again.image)
    assert not np.array_equal(again.image, other.image)
    assert not np.array_equal(again.image, scene_at(5, "train").image)
    assert not np.array_equal(again.image, scene_at(5, "test", seed=1).image)


def test_the_box_is_tight_around_half_opaque_ink() -> None:
    opacity = np.zeros((20, 20))
    opacity[3:8, 5:9] = 0.5
    opacity[2, 2] = 0.49
    assert ink_box(opacity).tolist() == [5, 3, 9, 8]


def test_ink_is_smooth_and_within_its_square() -> None:
    scan = np.zeros((8, 8))
    scan[:, 3:5] = 1.0
    opacity = ink(scan, 24)
    assert opacity.shape == (24, 24)
    assert opacity.min() == 0.0
    assert opacity.max() == 1.0
    assert ink_box(opacity).tolist() == [9, 0, 15, 24]  # two of eight columns, three px each


def test_covered_is_the_share_of_the_smaller_box() -> None:
    assert covered(np.array([0.0, 0, 10, 10]), np.array([8.0, 5, 12, 10])) == pytest.approx(10 / 20)
    assert covered(np.array([0.0, 0, 10, 10]), np.array([10.0, 0, 12, 10])) == 0.0


def test_no_place_is_found_where_there_is_none() -> None:
    whole = np.array([0.0, 0, 50, 60])
    rng = np.random.default_rng(0)
    assert free_place(rng, np.array([0.0, 0, 20, 20]), 20, [whole], (60, 50)) is None
    top, left = free_place(rng, np.array([0.0, 0, 20, 20]), 20, [], (60, 50)) or (-1, -1)
    assert 0 <= top <= 40
    assert 0 <= left <= 30


def test_colours_contrast_with_what_lies_under_them() -> None:
    rng = np.random.default_rng(0)
    for grey in np.linspace(0, 1, 11):
        local = np.full((5, 3), grey)
        colour = contrasting_colour(rng, local)
        assert colour is not None
        assert abs((colour - local[0]) @ LUMINANCE) >= 0.3
    half_dark = np.repeat([[0.0] * 3, [1.0] * 3], 10, axis=0)  # only a middle grey stands out from both
    colour = contrasting_colour(rng, half_dark)
    assert colour is None or 0.3 <= colour @ LUMINANCE <= 0.7
    assert contrasting_colour(rng, np.linspace(0, 1, 20)[:, None].repeat(3, axis=1)) is None


def test_the_data_set_of_a_few_scenes_is_made_without_the_rest(tmp_path: Path) -> None:
    data = Digits(tmp_path, "test", limit=3)
    assert len(data) == 3
    assert not list(tmp_path.iterdir())
    expected = scene_at(2, "test")
    np.testing.assert_array_equal(data[2].frames[0].permute(1, 2, 0).numpy(), expected.image)
    np.testing.assert_array_equal(data[2].targets.boxes_xyxy.numpy(), expected.boxes_xyxy)
    assert data.class_names == tuple("0123456789")


def test_all_scenes_are_cached_and_a_damaged_cache_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SCENES", {"train": 6, "test": 4})
    made = Digits(tmp_path / "new", "test")
    (cache,) = (tmp_path / "new").iterdir()
    whole = cache.read_bytes()
    monkeypatch.setattr(module, "scene_at", lambda *_, **__: pytest.fail("made again"))
    cached = Digits(tmp_path / "new", "test", limit=2)
    np.testing.assert_array_equal(cached[1].frames.numpy(), made[1].frames.numpy())
    monkeypatch.setattr(module, "scene_at", scene_at)
    cache.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        again = Digits(tmp_path / "new", "test")
    assert "is damaged" in caplog.messages[0]
    assert cache.name in caplog.messages[0]
    np.testing.assert_array_equal(again[3].frames.numpy(), made[3].frames.numpy())
    assert len(cache.read_bytes()) == len(whole)


def test_a_folder_that_takes_no_cache_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SCENES", {"train": 3, "test": 2})
    monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with caplog.at_level(logging.WARNING):
        assert len(Digits(tmp_path, "test")) == 2
    assert "could not be written ([Errno 28] No space left on device; " in caplog.messages[0]
    assert not list(tmp_path.iterdir())


def test_truth_has_every_digit(tmp_path: Path) -> None:
    data = Digits(tmp_path, "train", limit=5)
    assert len(data.truth()["annotations"]) == sum(len(scene_at(i, "train").digits) for i in range(5))
    assert len(data.box_sizes(Letterbox((96, 128)).scale_wh)) == len(data.truth()["annotations"])


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split='val' of the digits is unknown; expected one of train, test"):
        Digits(tmp_path, "val")
    with pytest.raises(ValueError, match="limit=0"):
        Digits(tmp_path, "train", limit=0)
    with pytest.raises(ValueError, match=r"size_hw=\[40, 128\]: expected at least 48 px"):
        scene(np.random.default_rng(0), *scans("train"), (40, 128))
