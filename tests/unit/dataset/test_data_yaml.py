from __future__ import annotations

from pathlib import Path

import pytest

from emsyolo.dataset.data_yaml import read_data_yaml


def read(folder: Path, text: str | bytes, file: str = "data.yaml") -> list[str]:
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_data_yaml(folder).class_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[on, off]", ["on", "off"]),
        ("[no, 1, 1e3, ~, 2020-01-01]", ["no", "1", "1e3", "~", "2020-01-01"]),
        ("{0: yes, 1: 'b c'}", ["yes", "b c"]),
        ("{1: b, 0: a}", ["a", "b"]),
        ("['大', \"ü\"]", ["大", "ü"]),
    ],
)
def test_names_are_what_stands_there(tmp_path: Path, names: str, expected: list[str]) -> None:
    assert read(tmp_path, f"train: t\nnames: {names}\n") == expected
    assert read(tmp_path, f"train: t\nnames: {names}\n".encode("utf-16")) == expected


@pytest.mark.parametrize("file", ["data.yml", "dataset.yaml", "raccoon.yaml"])
def test_other_names_of_the_file(tmp_path: Path, file: str) -> None:
    assert read(tmp_path, "names: [a]\n", file) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, a]", r"names has .*'a'.* more than once"),
        ("names: [a, b]\nnc: 3", r"nc=3, but 2 names"),
        ("names: [a]\nnc: many", r"nc is 'many'; expected a whole number"),
        ("names: [[a], b]", r"names\[0\] is \['a'\]; expected a name"),
        ("names: {0: a, 2: b}", "expected a list, or numbers from 0"),
        ("names: {a: 0, 1: b}", "expected a list, or numbers from 0"),
        ("names: [a]\nkpt_shape: 17", "kpt_shape='17'; expected two numbers"),
        ("? [1, 2]\n: a", "not"),
        ("[" * 3000, "not"),
        ("a: &a [x]\nnames: *b", "not YAML"),
    ],
)
def test_a_bad_file_is_named_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{message}") as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 1000


def test_aliases_that_grow_are_not_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    with pytest.raises(ValueError, match="names") as caught:
        read(tmp_path, "\n".join([*lines, "names: [*a39]"]))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!run"])
def test_tags_run_nothing(tmp_path: Path, tag: str) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(ValueError, match=r"data\.yaml: not YAML .*the tag .* is not read"):
        read(tmp_path, f'names: [a]\nx: {tag} ["touch {marker}"]\n')
    assert not marker.exists()


def test_sources(tmp_path: Path) -> None:
    for name in ("train", "valid", "a,b"):
        (tmp_path / "images" / name).mkdir(parents=True)
    read(tmp_path, "path: /of/another/machine\ntrain: images\\train\nvalid: ['images/valid', 'images/a,b']\nnames: [a]")
    settings = read_data_yaml(tmp_path)
    assert settings.sources("train") == [tmp_path / "images/train"]
    assert settings.sources("val") == [tmp_path / "images/valid", tmp_path / "images/a,b"]
    with pytest.raises(ValueError, match="test=None; expected a folder"):
        settings.sources("test")
