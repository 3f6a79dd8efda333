from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsyolo.dataset.values import flag, inside, name, number, whole

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), ("2.5", 2.5), (" 1e1 ", 10.0), (-0.5, -0.5)])
def test_numbers(value: Any, expected: float) -> None:
    assert number(value, "x") == expected


@pytest.mark.parametrize("value", [True, None, "", "a", [1], {}, float("nan"), "inf", 10**400, "1,5"])
def test_no_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x is .*; expected a number$"):
        number(value, "x")


@pytest.mark.parametrize(("value", "expected"), [(3, 3), ("3", 3), (3.0, 3), ("3.0", 3), (2**60, 2**60)])
def test_whole_numbers(value: Any, expected: int) -> None:
    assert whole(value, "x") == expected


@pytest.mark.parametrize("value", [2.5, "a", True, None, float("inf")])
def test_no_whole_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x is .*; expected a whole number$"):
        whole(value, "x")


@pytest.mark.parametrize("value", [None, 0, False, "0", "", "Unspecified", "false", "no", 0.0])
def test_marks_that_are_not_set(value: Any) -> None:
    assert flag(value, "x") is False


@pytest.mark.parametrize("value", [1, True, "1", "TRUE", " yes ", 1.0])
def test_marks_that_are_set(value: Any) -> None:
    assert flag(value, "x") is True


@given(value=ANYTHING)
def test_whatever_it_is_only_a_value_error_is_raised(value: Any) -> None:
    for read in (number, whole, flag, name, lambda one, called: inside(Path("/d"), Path("/d/images"), one, called)):
        said = "a.json: x"
        try:
            read(value, said)
        except ValueError as error:
            said = str(error)
        assert said.startswith("a.json: x")
        assert len(said) < 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.jpg", "d/images/a.jpg"),
        ("sub\\a.jpg", "d/images/sub/a.jpg"),
        ("../a.jpg", "d/a.jpg"),
        ("./a.jpg", "d/images/a.jpg"),
    ],
)
def test_paths_inside(value: str, expected: str) -> None:
    assert inside(Path("d"), Path("d/images"), value, "x") == Path(expected)


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "../../a.jpg", "..\\..\\a.jpg", "../../d2/a.jpg", "a/../../../b", "a\0.jpg"]
)
def test_paths_that_lead_out(value: str) -> None:
    with pytest.raises(ValueError, match=r"x is .*, which leads out of d; expected a path within it"):
        inside(Path("d"), Path("d/images"), value, "x")
