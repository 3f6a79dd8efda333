"""The site is built without a warning, asks nothing of another server, and has every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pages import ROOT

from emsyolo.app.keys import explained, options


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)  # what its extensions read is named from there
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)  # a warning ends it
    return folder


@pytest.mark.slow
def test_it_needs_no_other_server(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+href=\"?https?:")
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_it_has_every_key_and_no_mark(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("index.html")}
    keys = "".join(text for page, text in pages.items() if "keys" in page.parts)
    missing = [
        key.path
        for task in ("train", "evaluate", "predict", "export")
        for key in explained(task)
        if key.text and not key.choices and f">{key.path}<" not in keys and key.path != "T"
    ]
    assert missing == []
    assert all(f'id="dataset-{option.name}"' in keys for option in options("dataset"))
    assert "<!-- runs" not in "".join(pages.values())
    assert "{{ " not in keys
