"""What a wheel holds: every package, and the configs."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_of_the_package_is_installed() -> None:
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("not run from a clone")
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options"]["packages"].split()
    folders = {
        path.parent.relative_to(ROOT) for path in (ROOT / "emsyolo").rglob("*.py") if "__pycache__" not in path.parts
    }
    assert sorted(listed) == sorted([*(".".join(folder.parts) for folder in folders), "emsyolo.conf"])
    assert setup["options"]["package_dir"].split() == ["emsyolo.conf", "=", "conf"]


def test_every_file_of_a_page_is_installed() -> None:
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("not run from a clone")
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = setup["options.package_data"]["emsyolo"].split(", ")
    listed = {path for pattern in patterns for path in (ROOT / "emsyolo").glob(pattern)}
    assert {
        path for path in (ROOT / "emsyolo" / "report").iterdir() if path.suffix in (".html", ".css", ".js")
    } <= listed
