from __future__ import annotations

import pytest

from emsyolo.dataset.yolo_row import CONFIDENCE, KEYPOINTS, OUTLINE, NoBoxError, read_row

BOX = (0.4, 0.3, 0.6, 0.7)
CENTRE = "0.5 0.5 0.2 0.4"


@pytest.mark.parametrize(
    ("line", "keypoints", "form"),
    [
        (f"1 {CENTRE}", None, None),
        (f"1.000000 {CENTRE}", None, None),
        (f"1 {CENTRE} 0.87", None, CONFIDENCE),
        ("1 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", None, OUTLINE),  # a turned box, which stands upright
        ("1 0.5 0.3 0.6 0.5 0.4 0.7", None, OUTLINE),
        ("1 0.5 0.3 0.6 0.5 0.4 0.7 0.9", None, OUTLINE),  # with a confidence
        (f"1 {CENTRE} 0.5 0.4 2 0.55 0.6 1", None, KEYPOINTS),
        (f"1 {CENTRE} 0.5 0.4 2", None, KEYPOINTS),
        (f"1 {CENTRE} 0.5 0.4 0.55 0.6", (2, 2), KEYPOINTS),
        (f"1 {CENTRE} 0 0 0 0.55 0.6 1", None, KEYPOINTS),  # one that is not labelled
    ],
)
def test_forms(line: str, keypoints: tuple[int, int] | None, form: str | None) -> None:
    row = read_row(line, 2, keypoints)
    assert (row.label, row.form) == (1, form)
    assert row.shares_xyxy == pytest.approx(BOX)


def test_an_outline_along_the_border_is_no_keypoints() -> None:
    # Every third number after the first four is 0 or 1, as a visibility would be.
    row = read_row("0 0.2 0.1 0.9 0.1 0.95 0.3 0 0.1 0.9 1", 1)
    assert row.form == OUTLINE
    assert row.shares_xyxy == (0.0, 0.1, 0.95, 1.0)


@pytest.mark.parametrize(
    "line",
    ["0 0 0 0.1 0 0.1 0.2 0 0.2 0 0", "0 0.1 0 0.1 0.2 0 0.2 0.1 0 0.1 0", "0 0 0.2 0.1 0.2 0.1 0 0 0 0 0.2"],
)  # fmt: skip
def test_a_closed_outline_in_the_corner_is_no_keypoints(line: str) -> None:
    row = read_row(line, 1)
    assert row.form == OUTLINE
    assert row.shares_xyxy == (0.0, 0.0, 0.1, 0.2)


@pytest.mark.parametrize("line", ["0", "a 0.5 0.5 0.2 0.4", "0.5 0.5 0.5 0.2 0.4", "0,0.5,0.5,0.2,0.4", "0 nan 0 0 0"])
def test_no_rows(line: str) -> None:
    with pytest.raises(NoBoxError, match="expected `class x y width height`"):
        read_row(line, 2)


def test_pixels_are_no_shares() -> None:
    with pytest.raises(NoBoxError, match="no shares of the image, which are at most 1: pixels"):
        read_row("0 320 240 64 48", 2)


def test_a_class_out_of_range() -> None:
    with pytest.raises(NoBoxError, match="class 2; expected 0 to 1"):
        read_row(f"2 {CENTRE}", 2)


def test_a_long_row_is_shown_short() -> None:
    with pytest.raises(NoBoxError) as caught:
        read_row("x " + "0.5 " * 10000, 2)
    assert len(str(caught.value)) < 200
