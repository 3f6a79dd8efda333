"""Curves and bars are written, with what they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from emsyolo.report import style
from emsyolo.report.activity import firing_rates
from emsyolo.report.confusion import confusion_matrix
from emsyolo.report.curves import precision_recall_curves, training_curves
from emsyolo.report.history import read_history
from emsyolo.report.labels import label_picture
from emsyolo.report.score import score_curves
from emsyolo.report.style import DPI, new_figure, save
from emsyolo.report.sweep import side_by_side, sweep_summary

BLUE, RED = (0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)


def pixels(path: Path) -> np.ndarray:
    return np.round(imread(path)[..., :3] * 255).astype(int)


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=2).sum())


@pytest.mark.parametrize("classes", [1, 10, 80])
def test_precision_recall(tmp_path: Path, classes: int) -> None:
    recall = np.linspace(0, 1, 101)
    per_class = {f"$class_{k}": (recall < (k + 1) / classes) * 1.0 for k in range(classes)}
    path = precision_recall_curves(tmp_path / "a" / "pr.png", recall, per_class, 1 - recall)
    assert path == tmp_path / "a" / "pr.png"
    assert pixels(path).shape == (552, 912, 3)
    assert (count(pixels(path), BLUE) > 0) == (classes <= 10)


def test_firing_rates(tmp_path: Path) -> None:
    def layer(name: str, rate: float, binary: bool) -> dict[str, object]:
        return {"name": name, "firing_rate": rate, "binary": binary}

    layers = [layer("stem", 0.9, False), layer("a", 0.3, True), layer("b", 0.0, True)]
    picture = pixels(firing_rates(tmp_path / "rates.png", layers))
    # Bars of 0.9 and 0.3, and in the legend a patch of each colour.
    red, blue = count(picture, RED), count(picture, BLUE)
    assert 2 < red / blue < 3
    tall = pixels(
        firing_rates(tmp_path / "tall.png", [layer(f"$backbone.stage{i}.conv$", 0.1, True) for i in range(40)])
    )
    assert tall.shape[0] > 40 * 20  # px per name
    assert pixels(firing_rates(tmp_path / "none.png", layers[2:])).shape[1] == picture.shape[1]
    with pytest.raises(ValueError, match="no layers"):
        firing_rates(tmp_path / "x.png", [])


def test_training_curves(tmp_path: Path) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text(
        "epoch,step,train/loss_step,train/loss_epoch,train/box,val/mAP,val/mAP50\n"
        "0,0,9.0,,,,\n"
        "0,9,,,,0.1,0.2\n"
        "0,9,,3.0,1.0,,\n"
        "1,19,,,,0.4,0.6\n"
        "1,19,,2.0,0.5,,\n"
    )
    assert pixels(training_curves(tmp_path / "both.png", log)).shape == (480, 1296, 3)
    log.write_text("epoch,step,train/loss\n0,9,3.0\n1,19,\n")
    assert pixels(training_curves(tmp_path / "loss.png", log)).shape == (480, 648, 3)


def test_best_epoch_and_learning_rate(tmp_path: Path) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text(
        "epoch,step,lr-AdamW/pg1,lr-AdamW/pg2,train/loss,val/mAP\n"
        ",4,0.2,0.2,,\n"
        "0,9,,,3.0,0.1\n"
        ",14,0.1,0.1,,\n"
        "1,19,,,2.0,0.4\n"
        "2,29,,,2.5,0.4\n"
    )
    history = read_history(log)
    assert history.best("val/mAP") == (1, 0.4)  # of equal ones the first
    assert history.best("val/carried_mAP") is None
    (name,) = history.rates  # both groups have the same
    epochs, rates = history.rates[name]
    assert epochs == pytest.approx([4 / 9, 1.5])
    assert rates == [0.2, 0.1]
    assert pixels(training_curves(tmp_path / "a.png", log)).shape == (480, 3 * 648, 3)
    log.write_text(log.read_text().replace("0.1,0.1", "0.1,0.05"))
    assert list(read_history(log).rates) == ["AdamW/pg1", "AdamW/pg2"]


@pytest.mark.parametrize("classes", [1, 10, 81])
def test_confusion_and_scores(tmp_path: Path, classes: int) -> None:
    names = [f"$class_{k}" for k in range(classes)]
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    matrix[0, 0], matrix[0, classes] = 3, 1
    picture = pixels(confusion_matrix(tmp_path / "c.png", matrix, names, 0.5))
    assert picture.shape[0] / DPI > 0.2 * classes  # inches: every name can be read
    with pytest.raises(ValueError, match=f"expected {classes + 2} rows"):
        confusion_matrix(tmp_path / "c.png", matrix, [*names, "more"], None)
    x = np.linspace(0, 1, 101)
    curves = {"precision": np.where(x < 0.9, x, np.nan), "recall": 1 - x, "F1": x * (1 - x)}
    by_class = dict.fromkeys(names, x * (1 - x))
    for best in (50, None):
        assert pixels(score_curves(tmp_path / "s.png", x, curves, by_class, best)).shape[0] == 504


@pytest.mark.parametrize("classes", [1, 10, 81])
def test_labels(tmp_path: Path, classes: int) -> None:
    names = [f"$class_{k}" for k in range(classes)]
    places = np.array([[0.1, 0.1, 0.3, 0.5]] * 4)
    sides = np.array([10.0, 20.0, 40.0, 200.0])
    labels = np.zeros(4, dtype=np.int64)
    assert label_picture(tmp_path / "l.png", names, labels, places, sides, np.array([0, 1, 3])).stat().st_size > 0
    with pytest.raises(ValueError, match="no boxes to draw"):
        label_picture(tmp_path / "l.png", names, labels[:0], places[:0], sides[:0], np.array([0]))


def test_training_curves_without_numbers(tmp_path: Path) -> None:
    log = tmp_path / "metrics.csv"
    with pytest.raises(ValueError, match="is not a file"):
        training_curves(tmp_path / "x.png", log)
    log.write_text("epoch,step,lr\n0,9,0.1\n")
    with pytest.raises(ValueError, match="no numbers to draw"):
        training_curves(tmp_path / "x.png", log)


def test_sweep_over_numbers_is_a_line_and_else_bars(tmp_path: Path) -> None:
    rows = [{"T": t, "model": m, "mAP": y} for t, m, y in (("2", "a", 0.2), ("4", "b", 0.6), ("1", "c", None))]
    line = pixels(sweep_summary(tmp_path / "line.png", rows, ["T"]))
    words = pixels(sweep_summary(tmp_path / "words.png", rows, ["model"]))
    several = pixels(sweep_summary(tmp_path / "several.png", rows, ["T", "model"]))
    assert line.shape == (504, 768, 3)
    assert words.shape == several.shape != line.shape
    assert 0 < count(line, BLUE) < count(words, BLUE)
    # The bar of 0.6 is three times that of 0.2, and the failed run has none.
    lengths = (words == BLUE).all(axis=2).sum(axis=1)
    runs = sorted(set(lengths[lengths > 0].tolist()))
    assert runs[-1] / runs[0] == pytest.approx(3, abs=0.1)


def test_sweep_over_two_keys_is_a_heat_map(tmp_path: Path) -> None:
    rows = [
        {"neuron.v_threshold": v, "neuron.decay": d, "mAP": None if (v, d) == (0.5, 0.25) else v * d}
        for v in (0.7, 0.3, 0.5)
        for d in (0.25, 0.5)
    ]
    picture = sweep_summary(tmp_path / "a.png", rows, ["neuron.v_threshold", "neuron.decay"])
    bars = sweep_summary(tmp_path / "b.png", rows[:-1], ["neuron.v_threshold", "neuron.decay"])
    assert imread(picture).shape != imread(bars).shape


def test_sweep_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 runs"):
        sweep_summary(tmp_path / "x.png", [], ["T"])
    with pytest.raises(ValueError, match="has no 'T'"):
        sweep_summary(tmp_path / "x.png", [{"mAP": 0.5}], ["T"])


def test_sheets_side_by_side(tmp_path: Path) -> None:
    for name, color in (("a", BLUE), ("b", RED)):
        imsave(tmp_path / f"{name}.png", np.full((120, 240, 3), color, dtype=np.uint8))
    sheets = {name: tmp_path / f"{name}.png" for name in ("a", "b")}
    picture = pixels(side_by_side(tmp_path / "both.png", sheets))
    assert picture.shape == (168, 480, 3)
    left, right = picture[:, :240], picture[:, 240:]
    assert count(left, BLUE) == pytest.approx(120 * 240, rel=0.2)
    assert count(right, RED) == pytest.approx(120 * 240, rel=0.2)
    assert count(left, RED) == count(right, BLUE) == 0
    with pytest.raises(ValueError, match="0 contact sheets"):
        side_by_side(tmp_path / "none.png", {})


def test_failed_write_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(new_figure(1, 1), tmp_path / "picture.png")
    before = path.read_bytes()
    figure = new_figure(2, 2)

    def full_disk(target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(figure, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_readable_on_every_colour() -> None:
    assert style.ink_on("#CCBB44") == "black"
    assert style.ink_on("#004488") == "white"
    assert style.color_of(13) == style.color_of(3)
