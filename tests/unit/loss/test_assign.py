"""Which places answer for which box, by hand."""

from __future__ import annotations

import torch

from emsyolo.loss.assign import assign


def places(
    x: float, y: float, w: float, h: float, anchors: list[list[float]], ratio: float = 4.0, neighbours: bool = True
) -> set[tuple[int, int, int]]:
    """(anchor, row, column) of the matches of one box on a 3x4 map of stride 16."""
    m = assign(
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([[x, y, w, h]]),
        torch.zeros(1, dtype=torch.int64),
        anchors=torch.tensor(anchors),
        stride=16,
        size_hw=(3, 4),
        ratio=ratio,
        neighbours=neighbours,
    )
    places = torch.stack((m.anchor, m.row, m.column), dim=1)[m.valid].tolist()
    found = {(anchor, row, column) for anchor, row, column in places}
    assert len(found) == len(places)
    return found


def test_own_cell_and_the_two_nearest() -> None:
    # centre (36, 20): column 2.25, row 1.25: left and upper neighbours are nearer
    assert places(36, 20, 10, 10, [[10, 10]]) == {(0, 1, 2), (0, 1, 1), (0, 0, 2)}
    # centre (44, 28): column 2.75, row 1.75: right and lower
    assert places(44, 28, 10, 10, [[10, 10]]) == {(0, 1, 2), (0, 1, 3), (0, 2, 2)}


def test_no_neighbour_outside_the_map() -> None:
    assert places(4, 4, 10, 10, [[10, 10]]) == {(0, 0, 0)}
    assert places(60, 44, 10, 10, [[10, 10]]) == {(0, 2, 3)}


def test_ratio_is_excluded_at_the_limit() -> None:
    assert {a for a, _, _ in places(36, 20, 40, 10, [[10, 10], [11, 10], [40, 39]])} == {1, 2}


def test_a_box_may_be_matched_in_its_own_cell_alone() -> None:
    assert places(36, 20, 10, 10, [[10, 10]], neighbours=False) == {(0, 1, 2)}
