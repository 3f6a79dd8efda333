from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from emsyolo.typed import typed

WORDS = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs", "Cc"]), max_size=12).filter(
    lambda text: text != "???"
)
VALUES = st.recursive(
    WORDS | st.booleans() | st.none() | st.integers(-(2**60), 2**60), lambda one: st.lists(one, max_size=3)
)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("dataset.root", "/a/b", "dataset.root=/a/b"),
        ("dataset.class_names", ["car", "pedestrian"], "dataset.class_names=[car,pedestrian]"),
        ("source", Path("my clip (1)"), "source='\"my clip (1)\"'"),
        ("dataset.class_names", ["on", "1"], "dataset.class_names='[on,\"1\"]'"),
    ],
)
def test_words(key: str, value: Any, word: str) -> None:
    assert typed(key, value) == word


@given(value=VALUES)
def test_shell_and_hydra_read_the_value_that_is_meant(value: Any) -> None:
    (word,) = shlex.split(typed("key", value))
    (override,) = OverridesParser.create().parse_overrides([word])
    found = OmegaConf.to_container(OmegaConf.create({"key": _plain(override.value())}), resolve=True)
    assert found == {"key": value}


def _plain(value: Any) -> Any:
    """Hydra's quoted strings as plain ones."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.text if hasattr(value, "text") else value
