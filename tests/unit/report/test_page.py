"""The page of an evaluation."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from page_data import extras, files, film, gallery
from PIL import Image

from emsyolo.report.page import Extras, page
from emsyolo.report.style import new_figure, save

METRICS = {
    "model": "ems_small",
    "dataset": "a<b",
    "images": 3,
    "checkpoint": "runs/best.ckpt",
    "T": 2,
    "mAP": 0.5,
    "mAP50": 0.75,
    "firing_rate": 0.1,
    "energy": {"snn_mJ": 0.2, "ann_mJ": 1.0, "ratio": 0.2},
    "impure": [{"name": "stem", "macs": 1e6}],
    "layers": [
        {"name": "stem", "binary": False, "firing_rate": 1.0, "macs": 1e6, "synops": 1e6},
        {"name": "next", "binary": True, "firing_rate": 0.1, "macs": 3e6, "synops": 3e5},
    ],
    "latency_ms": {"p50": 20.0, "p95": 30.0},
    "throughput": 50.0,
    "parameters": 1000,
    "per_class": {"cat": 0.6, "<i>": 0.4, "no": None},
}


def plain(text: str) -> str:
    """Without what tables are sorted by."""
    return re.sub(r' data-value="[^"]*"|\n', "", text)


def written(folder: Path, **more: object) -> str:
    (folder / "metrics.json").write_text(json.dumps({**METRICS, **more}))
    (folder / "config.yaml").write_text("T: 2\n")
    save(new_figure(2, 2), folder / "detections.png")
    return page(folder).read_text()


def test_everything_is_inside_and_nothing_is_fetched(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert "data:image/webp;base64,UklGR" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "http:" not in text
    assert "https:" not in text
    assert "a&lt;b" in text
    assert text.index("&lt;i&gt;") < text.index("<td>cat</td>")  # the worst class first
    assert "25.00%" in text  # of the MACs are not fed with spikes
    assert "<dt>latency p50, ms</dt><dd>20.0</dd>" in text
    assert re.search(r"<li>20\d\d-\d\d-\d\d \d\d:\d\d</li><li>commit ", text)
    assert "Left out" not in text


def test_an_early_readout_has_its_accuracy_alone(tmp_path: Path) -> None:
    text = written(tmp_path, by_T={"1": {"mAP": 0.4, "mAP50": 0.6}, "2": {"mAP": 0.5, "mAP50": 0.75}})
    assert "<td>1</td><td>0.6000</td><td>0.4000</td></tr>" in plain(text)


def test_a_converted_network_has_its_curve(tmp_path: Path) -> None:
    one = {"mAP": 0.4, "mAP50": 0.6, "firing_rate": 0.1, "energy": {"snn_mJ": 0.1, "ann_mJ": 1.0, "ratio": 0.1}}
    text = written(tmp_path, by_T={"4": one, "8": one}, ann={"mAP": 0.5, "mAP50": 0.7})
    assert "<td>8</td>" in plain(text)
    assert "<td>ANN</td><td>0.7000</td><td>0.5000</td><td>-</td><td>1.0000</td><td>100.00%</td>" in plain(text)
    assert "<dt>the same as an ANN, mJ</dt><dd>1.0000</dd>" in text


def test_recordings_have_their_events_and_filters(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        events={"rate_per_s": 20_300.0, "windows": 14, "empty_windows": 3},
        by_filter={"none": {"images": 14, "mAP50": 0.75, "mAP": 0.5}, "rvt": {"images": 9, "mAP50": 0.8, "mAP": None}},
    )
    assert "<dt>events per second</dt><dd>20.30 k</dd>" in text
    assert "<dt>empty windows</dt><dd>3 of 14</dd>" in text
    assert "<td>rvt</td><td>9</td><td>0.8000</td><td>-</td>" in plain(text)


def test_what_became_of_the_boxes(tmp_path: Path) -> None:
    counts = {"true": 9, "found": 5, "missed": 3, "confused": 1, "doubled": 2, "false": 4}
    text = written(tmp_path, boxes=counts, f1=0.5, best_threshold=0.412)
    assert "<dt>best F1, at score 0.412</dt><dd>0.5000</dd>" in text
    assert "<dt>boxes found there</dt><dd>5 of 9</dd>" in text
    assert "<dt>doubled, false</dt><dd>2, 4</dd>" in text


def test_what_a_convolution_is_fed_with(tmp_path: Path) -> None:
    layers = [
        {"name": name, "binary": levels == 1, "levels": levels, "firing_rate": 0.1, "macs": 1e6, "synops": 1e5}
        for name, levels in (("a", 1), ("b", 4), ("c", None))
    ]
    text = plain(written(tmp_path, layers=layers))
    assert "<td>a</td><td>spikes</td>" in text
    assert "<td>b</td><td>0 to 4</td>" in text
    assert '<td>c</td><td class="no">numbers</td>' in text


def test_sections_are_linked_once(tmp_path: Path) -> None:
    text = page(files(tmp_path), extras(tmp_path)).read_text()
    keys = re.findall(r'<li><a href="#([\w-]+)">', text)
    assert len(keys) == len(set(keys))
    assert {"overview", "detections", "worst", "by-score", "film", "training", "layers", "confusion", "config"} <= set(
        keys
    )
    ids = re.findall(r' id="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img [^>]*>", text))


def test_page_stays_below_its_limit_and_says_what_it_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 120_000
    monkeypatch.setattr("emsyolo.report.page.LIMIT", limit)
    many = gallery(count=12, stops=2, side=200)  # of noise, the worst for compression
    text = page(files(tmp_path), Extras(gallery=many)).read_text()
    assert len(text.encode()) < limit
    assert 'id="left-out-title"' in text
    assert "of 12 images" in text
    assert "images are shrunk to 192 px" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert 0 < len(data["gallery"]["tiles"]) < 12


def test_long_films_show_some_of_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emsyolo.report.film.MOST_FRAMES", 4)
    made = film(7)
    data = made.data()
    assert [frame["t"] for frame in data["frames"]] == [0.05, 0.15, 0.25, 0.35]
    assert data["hop"] == 0.1
    assert len(data["rate"]) == 7
    assert data["rate"][2] == [0.15, 4000]  # 200 events in 50 ms
    assert [frame["truth"] is None for frame in data["frames"]] == [True, False, True, True]
    assert made.note == "a.dat: one of 2 answers of 7, one per 50 ms."
    assert film(3).note == "a.dat: every answer of 3, one per 50 ms."


def test_names_of_strangers_are_data(tmp_path: Path) -> None:
    text = page(files(tmp_path), extras(tmp_path)).read_text()
    assert "<script>alert" not in text
    assert "<b>.png" not in text


def test_few_images_keep_their_pixels(tmp_path: Path) -> None:
    text = page(files(tmp_path), Extras(gallery=gallery(count=1, side=300))).read_text()
    tile = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["gallery"]["tiles"]["0"]
    picture = Image.open(io.BytesIO(base64.b64decode(tile["pictures"][0].partition(",")[2])))
    assert picture.size == (400, 300)
    assert (tile["w"], tile["h"]) == (400, 300)
    heat = Image.open(io.BytesIO(base64.b64decode(tile["heat"].partition(",")[2])))
    assert heat.size == (3 * 16, 2 * 12)  # a column for each stop, a row for each layer
    assert tile["found"][1][1] == [30.0, 20.0, 60.0, 60.0, 1, 0.699]  # rounded down: 0.7 is a bit less in float32
