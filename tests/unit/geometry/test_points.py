"""What anchor-free maps mean, by hand."""

from __future__ import annotations

import torch

from emsyolo.geometry.points import PointLayout


def test_a_box_by_hand() -> None:
    layout = PointLayout((8, 16), num_classes=2, bins=4)
    fine, coarse = torch.zeros(1, 18, 2, 3), torch.zeros(1, 18, 1, 2)
    fine[0, :16, 1, 2] = torch.tensor([99.0, 0, 0, 0, 0, 99, 0, 0, 0, 0, 99, 0, 0, 0, 0, 99])  # 0, 1, 2, 3 cells
    fine[0, 16:, 1, 2] = torch.tensor([-99.0, 99.0])
    found = layout.candidates([fine, coarse])
    assert found.boxes_xyxy.shape == (1, 6 + 2, 4)
    # The point of row 1, column 2: (2.5, 1.5) cells.
    torch.testing.assert_close(found.boxes_xyxy[0, 5], torch.tensor([2.5, 0.5, 4.5, 4.5]) * 8)
    torch.testing.assert_close(found.scores[0, 5], torch.tensor([0.0, 1.0]))
    # Without knowledge every side is 1.5 cells.
    torch.testing.assert_close(found.boxes_xyxy[0, 7], torch.tensor([0.0, -1.0, 3.0, 2.0]) * 16)


def test_layouts_are_compared_in_words() -> None:
    layout = PointLayout((8, 16), 2)
    assert layout.differs(layout.with_classes(5)) == ""
    assert layout.differs(PointLayout((8, 32), 2)) == "the strides [8, 32] and 16 bins"
    assert layout.class_rows().tolist() == [[64], [65]]
