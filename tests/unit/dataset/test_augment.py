from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from emsyolo.dataset.augment import HSV, Affine, Cutout, Flip, Letterbox, Transform, Turn, clipped
from emsyolo.dataset.mosaic import Mosaic
from emsyolo.types import Sample, Targets

MakeSample = Callable[..., Sample]
ALL = [Letterbox((64, 96)), Flip(1.0), Turn(), Affine(), HSV(), Cutout(1.0), Mosaic((64, 96))]


def no_draw() -> Sample:
    raise AssertionError("only Mosaic draws")


def test_letterbox_of_a_wide_image(make_sample: MakeSample) -> None:
    # 30x40 into 96x64 (HxW): ratio 1.6, 48x64, 24 px of grey above and below.
    boxed = Letterbox((96, 64))(make_sample(boxes=[[10, 5, 20, 15]]), no_draw)
    assert boxed.frames.shape == (1, 3, 96, 64)
    assert boxed.targets.boxes_xyxy.tolist() == [[16, 32, 32, 48]]
    assert boxed.scale_wh == (1.6, 1.6)
    assert boxed.offset_xy == (0, 24)
    assert (boxed.frames[..., :24, :] == 114).all()
    assert (boxed.frames[..., 72:, :] == 114).all()
    assert boxed.frames[..., 24:72, :].float().std() > 10
    assert boxed.original_hw == (30, 40)


def test_letterbox_of_a_high_image_with_a_side_that_is_rounded(make_sample: MakeSample) -> None:
    # 50x33 into 64x96: ratio 1.28, width 42.24 -> 42, 54 px of grey: 27 to the left.
    boxed = Letterbox((64, 96), fill=0)(make_sample((50, 33), [[0, 0, 33, 50]]), no_draw)
    assert boxed.targets.boxes_xyxy.tolist() == [[27, 0, 69, 64]]
    assert boxed.scale_wh == (42 / 33, 1.28)
    assert boxed.offset_xy == (27, 0)


def test_letterbox_twice_keeps_the_way_back(make_sample: MakeSample) -> None:
    twice = Letterbox((96, 64))(Letterbox((48, 96))(make_sample(), no_draw), no_draw)
    offset, scale = torch.tensor(twice.offset_xy * 2), torch.tensor(twice.scale_wh * 2)
    torch.testing.assert_close((twice.targets.boxes_xyxy - offset) / scale, make_sample().targets.boxes_xyxy)


def test_letterbox_leaves_a_sample_of_that_size_alone(make_sample: MakeSample) -> None:
    sample = make_sample()
    assert Letterbox((30, 40))(sample, no_draw) is sample


def test_flip_mirrors_pixels_and_boxes(make_sample: MakeSample) -> None:
    sample = make_sample(boxes=[[4, 6, 20, 26]])
    flipped = Flip(1.0)(sample, no_draw)
    assert torch.equal(flipped.frames, sample.frames.flip(-1))
    assert flipped.targets.boxes_xyxy.tolist() == [[20, 6, 36, 26]]
    assert Flip(0.0)(sample, no_draw) is sample


def test_turn_moves_pixels_with_boxes(make_sample: MakeSample) -> None:
    frames = torch.zeros(1, 3, 60, 60, dtype=torch.uint8)
    frames[..., 20:36, 30:54] = 255
    sample = Sample(frames, make_sample((60, 60), [[30, 20, 54, 36]]).targets, 0, "white", (60, 60))
    seen = set()
    for _ in range(20):
        turned = Turn()(sample, no_draw)
        rows, columns = torch.nonzero(turned.frames[0, 0], as_tuple=True)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert turned.targets.boxes_xyxy.tolist() == [found]
        seen.add(tuple(map(int, found)))
    # A quarter against the clock takes (x, y) to (y, 60 - x).
    assert seen == {(30, 20, 54, 36), (20, 6, 36, 30), (6, 24, 30, 40), (24, 30, 40, 54)}
    assert Turn(0.0)(sample, no_draw) is sample


def test_turn_leaves_a_frame_its_size(make_sample: MakeSample) -> None:
    sample = make_sample((30, 40), [[4, 6, 20, 26]])
    turned = [Turn()(sample, no_draw) for _ in range(20)]
    assert {one.frames.shape for one in turned} == {(1, 3, 30, 40)}
    boxes = {tuple(one.targets.boxes_xyxy[0].tolist()) for one in turned}
    assert boxes == {(4, 6, 20, 26), (20, 4, 36, 24)}


def test_affine_with_a_known_zoom_and_shift(make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch) -> None:
    # The draws are 0.75, 0.75, 0.25: zoom 1.25 about the centre (20, 15), then shifts of +2 and -1.5 px.
    draws = iter([0.75, 0.75, 0.25])
    monkeypatch.setattr("emsyolo.dataset.augment.uniform", lambda low, high: low + (high - low) * next(draws))
    sample = make_sample(boxes=[[12, 11, 24, 19], [36, 5, 39, 15]])
    moved = Affine(scale=0.5, translate=0.1)(sample, no_draw)
    # x: 20 + 1.25 (x - 20) + 2, y: 15 + 1.25 (y - 15) - 1.5; the second box is at x 42 and more.
    torch.testing.assert_close(moved.targets.boxes_xyxy, torch.tensor([[12.0, 8.5, 27.0, 18.5]]))
    assert moved.targets.labels.tolist() == [0]
    assert moved.frames.shape == sample.frames.shape


def test_affine_moves_pixels_with_boxes(make_sample: MakeSample) -> None:
    frames = torch.zeros(1, 3, 60, 80, dtype=torch.uint8)
    frames[..., 20:36, 30:50] = 255
    sample = make_sample((60, 80), [[30, 20, 50, 36]])
    sample = Sample(frames, sample.targets, 0, "white", (60, 80))
    for _ in range(10):
        moved = Affine(scale=0.4, translate=0.1, fill=0)(sample, no_draw)
        rows, columns = torch.nonzero(moved.frames[0, 0] > 127, as_tuple=True)
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        torch.testing.assert_close(moved.targets.boxes_xyxy[0], found, atol=1.0, rtol=0)


def test_affine_without_range_changes_nothing(make_sample: MakeSample) -> None:
    sample = make_sample()
    same = Affine(scale=0.0, translate=0.0)(sample, no_draw)
    assert torch.equal(same.frames, sample.frames)
    torch.testing.assert_close(same.targets.boxes_xyxy, sample.targets.boxes_xyxy)


def test_clipped_drops_what_is_mostly_outside_or_too_thin() -> None:
    boxes = torch.tensor(
        [
            [-10.0, 0, 10, 10],  # half of it left
            [-91, 0, 9, 10],  # 9 %
            [39, 0, 41, 10],  # 1 px wide
            [50, 0, 60, 10],  # outside
        ]
    )
    left = clipped(Targets(boxes, torch.arange(4), torch.tensor([True, False, False, False])), (30, 40))
    assert left.boxes_xyxy.tolist() == [[0, 0, 10, 10]]
    assert left.labels.tolist() == [0]
    assert left.ignore.tolist() == [True]


def test_hsv_changes_colours_alone(make_sample: MakeSample) -> None:
    sample = make_sample(steps=2)
    changed = HSV(0.1, 0.5, 0.5)(sample, no_draw)
    assert changed.frames.dtype == torch.uint8
    assert not torch.equal(changed.frames, sample.frames)
    assert changed.targets is sample.targets
    assert torch.equal(HSV(0.0, 0.0, 0.0)(sample, no_draw).frames, sample.frames)


def test_hsv_value_multiplies(make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emsyolo.dataset.augment.uniform", lambda low, high: low)
    sample = make_sample()
    sample.frames.fill_(100)
    assert HSV(0.0, 0.0, 0.4)(sample, no_draw).frames.unique().tolist() == [60]


def test_hsv_needs_rgb(make_sample: MakeSample) -> None:
    with pytest.raises(ValueError, match=r"seven has 2 channels; expected RGB; set augment\.hsv=null"):
        HSV()(make_sample(channels=2), no_draw)


def test_cutout_drops_boxes_that_are_hidden(make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch) -> None:
    # One hole of half the height and width in the top left corner: rows 0 to 14, columns 0 to 19.
    draws = iter([0.0, 0.5, 0.5, 0.0, 0.0])
    monkeypatch.setattr("emsyolo.dataset.augment.uniform", lambda low, high: next(draws))
    boxes = [[10, 5, 20, 25], [10, 5, 20, 20], [30, 20, 40, 30]]  # hidden by 50 %, 67 % and not at all
    sample = make_sample(boxes=boxes)
    cut = Cutout(1.0, holes=1, max_share=0.5)(sample, no_draw)
    assert cut.targets.boxes_xyxy.tolist() == [boxes[0], boxes[2]]
    assert cut.targets.labels.tolist() == [0, 2]
    assert len(cut.frames[0, :, :15, :20].reshape(3, -1).unique(dim=1).T) == 1
    assert torch.equal(cut.frames[..., 15:, :], sample.frames[..., 15:, :])
    assert torch.equal(cut.frames[..., 20:], sample.frames[..., 20:])


def test_mosaic_places_four_images(make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch) -> None:
    # Frame 60x80, images 30x40: each doubled. They meet at zoom 1, 40 % of the height, 60 % of the width: (24, 48).
    draws = iter([0.0, 1.0, -0.1, 0.1])
    monkeypatch.setattr("emsyolo.dataset.mosaic.uniform", lambda low, high: next(draws))
    samples = [make_sample(boxes=[[10, 10, 20, 20], [0, 0, 2, 2]]) for _ in range(4)]
    for value, sample in enumerate(samples):
        sample.frames.fill_(value * 10)
    others = iter(samples[1:])
    mixed = Mosaic((60, 80), scale=0.5)(samples[0], lambda: next(others))
    assert mixed.frames.shape == (1, 3, 60, 80)
    for value, part in enumerate(((slice(0, 24), slice(0, 48)), (slice(0, 24), slice(48, 80)))):
        assert mixed.frames[0, 0][part].unique().tolist() == [value * 10]
    for value, part in enumerate(((slice(24, 60), slice(0, 48)), (slice(24, 60), slice(48, 80))), start=2):
        assert mixed.frames[0, 0][part].unique().tolist() == [value * 10]
    # The big box is [20, 20, 40, 40], the small one [0, 0, 4, 4] in a doubled image, whose corner lies at (left, top) =
    # (-32, -36), (48, -36), (-32, 24), (48, 24); what lies outside is gone. [-12, -16, 8, 4] would keep 32 of 400 px^2,
    # [68, -16, 88, 4] keeps 48.
    assert mixed.targets.boxes_xyxy.tolist() == [
        [68, 0, 80, 4],
        [0, 44, 8, 60],
        [68, 44, 80, 60],
        [48, 24, 52, 28],
    ]
    assert mixed.targets.ignore.tolist() == [False, False, False, True]
    assert mixed.original_hw == (60, 80)


def test_mosaic_that_does_not_strike_draws_nothing(make_sample: MakeSample) -> None:
    sample = make_sample()
    assert Mosaic((64, 96), p=0.0)(sample, no_draw) is sample


@pytest.mark.parametrize("transform", ALL, ids=lambda one: type(one).__name__)
def test_a_sample_without_boxes_and_of_several_steps_is_fine(transform: Transform, make_sample: MakeSample) -> None:
    sample = make_sample(boxes=[], steps=3)
    changed = transform(sample, lambda: make_sample(boxes=[], steps=3))
    assert changed.frames.shape[:2] == (3, 3)
    assert changed.targets.boxes_xyxy.shape == (0, 4)
    assert len(changed.targets.ignore) == 0


@pytest.mark.parametrize(
    "transform", [one for one in ALL if not isinstance(one, Letterbox)], ids=lambda o: type(o).__name__
)
def test_random_numbers_come_from_torchs_generator(transform: Transform, make_sample: MakeSample) -> None:
    sample = make_sample()
    torch.manual_seed(3)
    once = transform(sample, lambda: sample)
    torch.manual_seed(3)
    again = transform(sample, lambda: sample)
    assert torch.equal(once.frames, again.frames)
    assert torch.equal(once.targets.boxes_xyxy, again.targets.boxes_xyxy)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), r"p=1.5: expected a share in \[0, 1\]"),
        (lambda: Turn(1.5), r"p=1.5: expected a share in \[0, 1\]"),
        (lambda: Affine(scale=1.0), r"scale=1.0: expected a share in \[0, 1\)"),
        (lambda: Affine(translate=-0.1), "translate=-0.1"),
        (lambda: HSV(hue=0.6), "hue=0.6"),
        (lambda: HSV(value=2.0), "value=2.0"),
        (lambda: Cutout(holes=0), "holes=0"),
        (lambda: Mosaic((64, 96), p=-1), "p=-1"),
        (lambda: Mosaic((64, 96), scale=1.0), "scale=1.0"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
