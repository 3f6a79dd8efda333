"""The bar of long work: nothing of it in a file."""

from __future__ import annotations

import pytest

from emsyolo.bar import bar


def test_where_nobody_looks_only_the_items_are_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(bar(range(3), "counting [1/2]")) == [0, 1, 2]
    assert list(bar((i for i in "ab"), "letters", total=2)) == ["a", "b"]
    assert capsys.readouterr().out == ""
