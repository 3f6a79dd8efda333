"""The page of an evaluation in a browser: sliders, tables, colours, enlarged pictures; on a phone, with no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_data import DEEP, extras, files, film

from emsyolo.report.page import film_page, page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser driver playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    return page(files(folder), extras(folder))


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens a page; afterwards nothing was fetched and nothing went wrong."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def opened(path: Path, **look: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: troubles.append(said.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("dialog", lambda dialog: troubles.append(dialog.message))
        tab.on("request", lambda sent: None if sent.url.startswith(("file:", "data:")) else troubles.append(sent.url))
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def boxes(tab: Any) -> int:
    return tab.locator("#detections .tile").first.locator(".box:not(.truth)").count()


def test_time_passes_by_keyboard(visit: Any, report: Path) -> None:
    tab = visit(report)
    slider = tab.get_by_label("Time steps, Detections")
    assert slider.get_attribute("aria-valuetext") == "T = 3"
    assert boxes(tab) == 3
    slider.focus()
    tab.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "T = 2"
    assert boxes(tab) == 2
    assert tab.locator("#detections img").first.get_attribute("alt") == "0 <b>.png, T = 2: 2 found, 1 true"
    tab.keyboard.press("Home")
    assert boxes(tab) == 1
    assert tab.locator("#worst .tile .box:not(.truth)").count() == 3  # a sheet has its own time
    label = tab.locator("#detections .box b").first
    assert label.text_content() == "<script>alert(1)</script> 0.90"


def test_time_passes_by_touch(visit: Any, report: Path) -> None:
    tab = visit(report, **PHONE)
    slider = tab.get_by_label("Time steps, Detections")
    slider.scroll_into_view_if_needed()
    place = slider.bounding_box()
    tab.touchscreen.tap(place["x"] + 3, place["y"] + place["height"] / 2)
    assert slider.get_attribute("aria-valuetext") == "T = 1"
    assert boxes(tab) == 1


def test_firing_of_a_layer(visit: Any, report: Path) -> None:
    tab = visit(report)
    assert tab.locator(".heat").count() == 0
    tab.get_by_label("Firing of").select_option(DEEP)
    heat = tab.locator("#detections .heat").first
    assert heat.evaluate("e => e.style.backgroundSize") == "300% 200%"  # three steps, two layers
    assert heat.evaluate("e => e.style.backgroundPosition") == "100% 100%"
    tab.get_by_label("Time steps, Detections").press("Home")
    assert tab.locator("#detections .heat").first.evaluate("e => e.style.backgroundPosition") == "0% 100%"
    assert "0 to 0.2 spikes" in tab.locator(".scale").text_content()


def test_score_threshold_moves_images_and_figures(visit: Any, report: Path) -> None:
    tab = visit(report)
    assert boxes(tab) == 3  # of scores 0.9, 0.7 and 0.5
    tab.get_by_role("button", name="best F1: 0.50").click()
    assert "precision 0.750, recall 0.600, F1 0.667" in tab.locator("#score-words").text_content()
    tab.locator("#score").fill("0.8")
    assert boxes(tab) == 1
    assert tab.locator("#score-too").input_value() == "0.8"


def test_tables_are_sorted_by_mouse_and_keyboard(visit: Any, report: Path) -> None:
    tab = visit(report)
    table = tab.locator("#layers table")
    macs = table.get_by_role("button", name="MACs")
    macs.click()
    assert table.locator("th").nth(3).get_attribute("aria-sort") == "descending"
    assert table.locator("tbody td:nth-child(4)").all_text_contents() == ["200.00 M", "3.00 M", "1.00 M"]
    macs.press("Enter")
    assert table.locator("th").nth(3).get_attribute("aria-sort") == "ascending"
    assert table.locator("tbody td:nth-child(4)").all_text_contents() == ["1.00 M", "3.00 M", "200.00 M"]
    table.get_by_role("button", name="convolution").press("Space")
    assert table.locator("tbody td:first-child").last.text_content() == "neck"
    assert [head.get_attribute("aria-sort") for head in table.locator("th").all()][3] == "none"
    classes = tab.locator("#classes table")
    classes.get_by_role("button", name="mAP").click()
    assert classes.locator("tbody td:first-child").all_text_contents() == ["cat", "<script>alert(1)</script>", "a&b"]


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_follow_the_system_and_the_button(visit: Any, report: Path, system: str) -> None:
    tab = visit(report, color_scheme=system)

    def ground() -> int:
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.split("(")[1].split(",")[0])

    assert (ground() < 60) == (system == "dark")
    button = tab.get_by_role("button", name="Dark colours")
    assert button.get_attribute("aria-pressed") == str(system == "dark").lower()
    button.click()
    assert (ground() < 60) == (system == "light")
    tab.reload()
    assert (ground() < 60) == (system == "light")  # it is remembered


def test_an_image_is_enlarged_by_enter_and_closed_by_escape(visit: Any, report: Path) -> None:
    tab = visit(report)
    tile = tab.get_by_role("button", name="Enlarge 1 <b>.png").first
    tile.press("Enter")
    viewer = tab.get_by_role("dialog")
    assert viewer.is_visible()
    assert tab.locator("#viewer-name").text_content() == "1 <b>.png"
    shown = tab.locator("#viewer-stage .stage")
    assert shown.locator(".box:not(.truth)").count() == 3
    before = shown.bounding_box()["width"]
    tab.keyboard.press("+")
    assert shown.bounding_box()["width"] == pytest.approx(1.4 * before, rel=0.01)
    tab.mouse.move(640, 500)
    tab.mouse.wheel(0, -300)
    tab.wait_for_function("w => document.querySelector('#viewer-stage .stage').offsetWidth > w", arg=1.5 * before)
    viewer.get_by_role("slider").press("Home")
    assert shown.locator(".box:not(.truth)").count() == 1
    tab.get_by_role("button", name="Next picture").click()
    assert tab.locator("#viewer-name").text_content() == "2 <b>.png"
    tab.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert tile.evaluate("e => e === document.activeElement")


def test_a_plot_is_enlarged_by_touch_to_its_own_size(visit: Any, report: Path) -> None:
    tab = visit(report, **PHONE)
    tab.locator("#confusion .picture").tap()
    image = tab.locator("#viewer-stage img")
    assert image.bounding_box()["width"] <= 390
    for _ in range(4):
        tab.get_by_role("button", name="Larger").tap()
    assert image.bounding_box()["width"] > 1080  # its own
    assert tab.locator("#viewer-stage").evaluate("e => e.scrollWidth > e.clientWidth")
    tab.get_by_role("button", name="Close").tap()
    assert not tab.get_by_role("dialog").is_visible()


def test_a_phone_needs_no_sideways_scrolling(visit: Any, report: Path) -> None:
    tab = visit(report, **PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    for part in tab.locator(".scroll").all():
        assert part.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    assert tab.locator("#detections .tile").first.bounding_box()["width"] > 300


def test_a_recording_is_played_and_wound(visit: Any, tmp_path: Path) -> None:
    path = film_page(tmp_path / "report.html", film(), "a.dat", ["80x60 px"], [("answers", "5")])
    tab = visit(path)
    time = tab.get_by_label("Time")
    assert time.get_attribute("aria-valuetext") == "0.05 s, 0 found"
    time.press("ArrowRight")
    time.press("ArrowRight")
    assert time.get_attribute("aria-valuetext") == "0.15 s, 2 found"
    assert tab.locator(".film-stage .box:not(.truth)").count() == 2
    assert tab.locator(".film-stage .box.truth").count() == 1
    time.press("ArrowLeft")
    assert time.get_attribute("aria-valuetext") == "0.10 s, 1 found"
    play = tab.get_by_role("button", name="Play")
    play.click()
    # Functions that are waited for would be evaluated from text, which the page's policy forbids.
    sync_api.expect(time).to_have_value("4")
    sync_api.expect(tab.locator(".play")).to_have_text("Play")  # it stops at the end
    assert tab.locator("#film-rate svg").get_attribute("aria-label") == "Events per second along a.dat"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280


def test_curves_and_headings_are_there(visit: Any, report: Path) -> None:
    tab = visit(report)
    for place in ("#training-metrics", "#training-losses", "#training-rates", "#score-chart", "#film-rate"):
        assert tab.locator(f"{place} svg polyline").count() >= 1, place
    assert "best: epoch 2, 0.400" in tab.locator("#training-metrics").text_content()
    for link in tab.locator("nav a").all():
        assert tab.locator(link.get_attribute("href")).count() == 1, link.text_content()
    assert all(image.get_attribute("alt") for image in tab.locator("img").all())
