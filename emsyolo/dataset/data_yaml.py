"""Ultralytics' `data.yaml`: where the images are and what the classes are called."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emsyolo.dataset.values import class_name, shown, whole
from emsyolo.text import read_text

LAYOUT = (
    "expected data.yaml with `train: train/images`, `val: val/images` and `names: [...]`, and for each image "
    ".../images/NAME.jpg a file .../labels/NAME.txt; type dataset.root=FOLDER"
)
FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
SPLITS = {"val": ("val", "valid", "validation")}  # what a split is also called
STANDARD = "tag:yaml.org,2002:"


class _Words(yaml.BaseLoader):
    """YAML in which every scalar is the text that stands there: a class may be called `on`, `no`, `1` or `1e3`.

    A key that is given twice is an error, where YAML's readers take the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node whose keys differ."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, count in Counter(keys).items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _refuse_tag(loader: yaml.BaseLoader, tag: str, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(None, None, f"the tag {tag!r} is not read", node.start_mark)


_Words.add_multi_constructor("!", _refuse_tag)
_Words.add_multi_constructor(f"{STANDARD}python", _refuse_tag)


@dataclass(frozen=True)
class DataYaml:
    """What a `data.yaml` says.

    Attributes:
        file: its path.
        settings: its keys, each value as text, list or mapping.
        class_names: the label is the index.
        keypoints: `kpt_shape`: how many, and 2 or 3 numbers each; None if not given.
    """

    file: Path
    settings: dict[str, Any]
    class_names: list[str]
    keypoints: tuple[int, int] | None

    def sources(self, split: str) -> list[Path]:
        """The folders, lists of images or images that are given for a split.

        Raises:
            FileNotFoundError: one that does not exist.
            ValueError: another value than a path or a list of paths.
        """
        keys = SPLITS.get(split, (split,))
        value = next((self.settings[key] for key in keys if self.settings.get(key)), None)
        entries: list[Any] = value if isinstance(value, list) else [value]
        if not entries or not all(isinstance(entry, str) and entry for entry in entries):
            raise ValueError(f"{self.file}: {split}={shown(value)}; expected a folder of images, or a list of folders")
        return [self._existing(entry, split) for entry in entries]

    def listed(self, source: Path, line: str) -> Path:
        """The image that a line of a text file means: relative to that file, or as Ultralytics has it to `path`."""
        beside = source.parent / line
        if beside.exists():
            return beside
        other = next((path for base in self._bases() if (path := base / line).exists()), None)
        return other or beside

    def _bases(self) -> list[Path]:
        """What paths may be relative to: `path`, and the folder of the file, where it is another machine's."""
        return [self.file.parent / str(self.settings.get("path") or ".").replace("\\", "/"), self.file.parent]

    def _existing(self, entry: str, split: str) -> Path:
        text = entry.strip().replace("\\", "/")
        # Roboflow writes ../train/images for what lies beside data.yaml.
        candidates = [*(base / text for base in self._bases()), self.file.parent / text.removeprefix("../")]
        for path in candidates:
            try:
                if path.exists():
                    return path
            except (OSError, ValueError):  # a name that no file can have
                continue
        raise FileNotFoundError(f"{candidates[0]}: {self.file} names it as {split}, but there is none; {LAYOUT}")


def read_data_yaml(root: Path, encoding: str | None = None) -> DataYaml:
    """The `data.yaml` of a folder, or its one YAML file of another name; see `read_yaml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or not these keys; names the key.
    """
    return read_yaml(_file(root), encoding)


def read_yaml(file: Path, encoding: str | None = None) -> DataYaml:
    """What a `data.yaml` says.

    `path`, `train`, `val`, `test` say where the images are: folders, text files that list images, or images. `names`
    is a list, or number to name; `nc`, if given, how many.

    Args:
        file: its path.
        encoding: of a file that is not UTF-8 and has no byte order mark.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or not these keys; names the key.
    """
    settings = _mapping(file, encoding)
    names = _names(settings, file)
    try:
        count = None if settings.get("nc") is None else whole(settings["nc"], "nc")
        shape = settings.get("kpt_shape")
        keypoints = None if shape is None else _keypoints(shape)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if count is not None and count != len(names):
        raise ValueError(f"{file}: nc={count}, but {len(names)} names: {shown(names)}; expected as many")
    return DataYaml(file, settings, names, keypoints)


def _file(root: Path) -> Path:
    for one in FILES:
        if (root / one).is_file():
            return root / one
    others = sorted(path for path in root.glob("*.y*ml") if path.is_file()) if root.is_dir() else []
    return others[0] if len(others) == 1 else root / FILES[0]


def _mapping(file: Path, encoding: str | None) -> dict[str, Any]:
    try:
        settings = yaml.load(read_text(file, encoding), Loader=_Words)
    except OSError as error:
        raise FileNotFoundError(f"{file}: looked for it and found none; {LAYOUT}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    except (RecursionError, TypeError) as error:  # too deep, or a key that is a list
        raise ValueError(f"{file}: not such YAML ({type(error).__name__}); {LAYOUT}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: no keys; {LAYOUT}")
    return settings


def _names(settings: dict[str, Any], file: Path) -> list[str]:
    """The class names, given as a list or as number to name."""
    names = settings.get("names")
    if isinstance(names, dict):
        numbers = {int(key): value for key, value in names.items() if re.fullmatch(r"\s*\d{1,9}\s*", str(key))}
        if len(numbers) == len(names) and sorted(numbers) == list(range(len(names))):
            names = [numbers[i] for i in range(len(numbers))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{file}: names={shown(names)}; expected a list, or numbers from 0 on with a name each")
    try:
        found = [class_name(name, f"names[{i}]") for i, name in enumerate(names)]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    twice = sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise ValueError(f"{file}: names has {shown(twice)} more than once; expected a name for each class")
    return found


def _keypoints(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, list) or len(shape) != 2:
        raise ValueError(f"kpt_shape={shown(shape)}; expected two numbers")
    return whole(shape[0], "kpt_shape"), whole(shape[1], "kpt_shape")
