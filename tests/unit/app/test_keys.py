"""The keys that can be typed, read from the text of `conf/`; that they are those of Hydra: `tests/config`."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsyolo.app import keys
from emsyolo.app.keys import Key, all_keys, explained, options, read_option

GROUPS = (
    "dataset", "model", "neuron", "optimizer", "trainer", "loss", "head", "temporal", "convert", "format", "experiment",
    "hparams_search",
)  # fmt: skip


def test_a_key_has_default_and_comment_of_its_line() -> None:
    found = {key.path: key for key in explained("train")}
    assert found["neuron.levels"].default == "16"  # ilif_fine's own
    assert found["neuron.levels"].text.startswith("D")  # its parent's
    assert found["T"].default == "1"
    assert found["neuron"].default == "ilif_fine"
    assert found["neuron"].choices["lif"] == "Leaky integrate-and-fire, the published values (Su et al., ICCV 2023)"
    assert found["dataset.augment.affine"].default == "emsyolo.dataset.augment.Affine"
    assert found["dataset.augment.affine.scale"].default == "0.1"


def test_an_option_brings_others_and_what_is_typed_wins() -> None:
    def options_of(**typed: str) -> dict[str, str]:
        return {key.path: key.default for key in explained("train", typed) if key.choices}

    assert options_of(model="spiking_yolov3_fc")["convert"] == "plain"
    assert options_of(model="spiking_yolov3_fc", convert="radix")["convert"] == "radix"
    assert options_of(model="spike_yolo_gen1_s")["neuron"] == "ilif_gen1"
    assert options_of(dataset="fred")["protocol"] == "rvt"


def test_every_key_and_every_option_is_explained() -> None:
    for config in ("train", "evaluate", "predict", "export"):
        assert unexplained(explained(config)) == []
    for group in GROUPS:
        for option in options(group):
            assert option.text, (group, option.name)
            if not option.at_root:  # an experiment states values of keys that are explained elsewhere
                assert unexplained(all_keys(group, option.name)) == []


def unexplained(found: list[Key]) -> list[str]:
    """Keys without a comment of their own or beside the part they belong to, which refer to no other key."""
    said = {key.path for key in found if key.text and not key.choices}

    def clear(path: str) -> bool:
        return path in said or ("." in path and clear(path.rpartition(".")[0]))

    makes = ("${", "emsyolo.", "{}")  # what is referred to, or called, says what it is
    return [
        k.path
        for k in found
        if not (k.choices or clear(k.path) or k.default.startswith(makes) or k.path == "dataset.name")
    ]


def test_text_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paint").mkdir()
    (tmp_path / "paint" / "base.yaml").write_text(
        "# Paints by Su et al., 2023. Slowly.\n"
        "#     python paint.py\n"
        "_target_: a.B\n"
        'name: "a # b"        # quoted\n'
        "# above\n"
        "sizes:\n"
        "  - [1, 2]\n"
        "  - [3, 4]\n"
        "brush: {_target_: a.C, hair: [1, 2], wet: 0.5}   # a part\n"
        "nested:              # of two\n"
        "  deep: 1            # first\n"
        "  none: null\n"
    )
    (tmp_path / "paint" / "thin.yaml").write_text("defaults: [base, _self_]\nbrush: null\nsizes: []\n")
    monkeypatch.setattr(keys, "conf_dir", lambda: tmp_path)
    read_option.cache_clear()
    base = read_option("paint", "base")
    assert (base.summary, base.target) == ("Paints by Su et al., 2023", "a.B")
    assert base.keys == (
        Key("paint.name", "a # b", "quoted"),
        Key("paint.sizes", "[[1, 2], [3, 4]]", "above"),
        Key("paint.brush", "a.C", "a part"),
        Key("paint.brush.hair", "[1, 2]"),
        Key("paint.brush.wet", "0.5"),
        Key("paint.nested", "", "of two"),
        Key("paint.nested.deep", "1", "first"),
        Key("paint.nested.none", "null"),
    )
    thin = {key.path: key for key in all_keys("paint", "thin")}
    assert "paint.brush.wet" not in thin
    assert thin["paint.brush"] == Key("paint.brush", "null", "a part")
    assert thin["paint.sizes"] == Key("paint.sizes", "[]", "above")
    read_option.cache_clear()


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"neuron/lfi\.yaml: no such config; expected one of .*lif"):
        read_option("neuron", "lfi")
