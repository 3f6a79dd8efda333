"""What can be typed: every key of a command with its default and the comment beside it in `conf/`.

The YAML files are read as text, because a parser drops comments. `--help` and the reference page of the documentation
both come from here, so that a key is explained in one place: the line that states its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from emsyolo.app.folder import conf_dir

PLUMBING = ("_target_", "_partial_")
NO_OPTION = ("null", "none", "")
_LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>.*))?$")
_DEFAULT = re.compile(r"(?P<override>override +)?/?(?P<group>[\w/]+)(?:@(?P<package>[\w.]+))?: *(?P<option>.*)$")
_FALLBACK = re.compile(r"\$\{oc\.select:[\w.]+, *([^}]*)\}")
_SENTENCE = re.compile(r"(?<!al)(?<!e\.g)(?<!vs)\.(?= +[A-Z0-9`])")


@dataclass(frozen=True)
class Key:
    """Something that can be typed as `path=value`.

    Attributes:
        path: as typed, `neuron.v_threshold`.
        default: as YAML writes it; of a group, the option; of a part that is made of several keys, its constructor, or
            nothing. Of a value that is taken from another key if there is one, what is used if not.
        text: the comment beside it, or above it; empty where there is none.
        choices: of a group, its options, each with the first sentence of its file.
    """

    path: str
    default: str
    text: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """One YAML file of `conf/`.

    Attributes:
        name: without `.yaml`.
        text: the comment at its top, joined to one line, without the commands that stand indented in it.
        target: the constructor that it names, or nothing.
        parents: the files of its own group whose keys it begins with.
        picks: for other groups, the option that it brings, by the group's name.
        keys: those that it states itself, with paths from the group on.
        at_root: its keys lie at the root of the config, not under the group's name.
    """

    name: str
    text: str
    target: str
    parents: tuple[str, ...]
    picks: Mapping[str, str]
    keys: tuple[Key, ...]
    at_root: bool

    @property
    def summary(self) -> str:
        """The first sentence of its comment."""
        return _SENTENCE.split(self.text, maxsplit=1)[0].rstrip(".")


def explained(config: str, typed: Mapping[str, str] | None = None) -> list[Key]:
    """Every key of a command, each group before its own keys.

    Args:
        config: `train`, `evaluate`, `predict` or `export`.
        typed: options that take the place of the default ones, by group; those bring theirs.

    Raises:
        FileNotFoundError: there is no such config or option.
    """
    root = read_option("", config)
    chosen = _chosen(root, typed or {})
    own = {key.path: key for key in all_keys("", config)}
    said = _said_of_groups(conf_dir() / f"{config}.yaml")
    grouped: list[Key] = []
    for group, option in chosen.items():
        keys = [] if option in NO_OPTION else all_keys(group, option)
        if option not in NO_OPTION and read_option(group, option).at_root:
            own |= {key.path: key for key in keys}
            if group == "steps":
                continue
            keys = []
        grouped.append(Key(group, option, said.get(group, ""), choices_of(group)))
        grouped += [key for key in keys if key.path.partition(".")[0] == group]
    return [*own.values(), *grouped]


def options(group: str) -> list[Option]:
    """The options of a group, by name; parents of others that are no options themselves (`_still`) are left out."""
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return [read_option(group, file.stem) for file in files if not file.stem.startswith("_")]


def choices_of(group: str) -> dict[str, str]:
    """The names of a group's options, each with the first sentence of its file."""
    return {option.name: option.summary for option in options(group)}


def all_keys(group: str, name: str) -> list[Key]:
    """The keys of an option with those that it inherits; a key that it states anew keeps the text of its parent's.

    Raises:
        FileNotFoundError: there is no such option.
    """
    option = read_option(group, name)
    keys: dict[str, Key] = {}
    for parent in option.parents:
        keys |= {key.path: key for key in all_keys(group, parent)}
    for key in option.keys:
        before = keys.get(key.path)
        for path in [path for path, old in keys.items() if old.default == "{}" and key.path.startswith(f"{path}.")]:
            del keys[path]
        if key.default == "null":  # nothing is left of what it consisted of
            keys = {path: old for path, old in keys.items() if not path.startswith(f"{key.path}.")}
        keys[key.path] = replace(key, text=before.text) if before is not None and not key.text else key
    return list(keys.values())


@cache
def read_option(group: str, name: str) -> Option:
    """What one file states.

    Args:
        group: its folder in `conf/`; empty for the configs of the commands.
        name: without `.yaml`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = conf_dir() / group / f"{name}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config; expected one of {', '.join(sorted(choices_of(group)))}")
    lines = path.read_text(encoding="utf-8").splitlines()
    header, at_root = _header(lines)
    stated = list(_stated(lines))
    target = next((key.default for key in stated if key.path == "_target_"), "")
    parents, picks = [], {}
    for entry, _ in _defaults(lines):
        match = _DEFAULT.match(entry)
        if match is None:
            parents += [entry] if entry != "_self_" else []
        elif not match["group"].startswith("hydra"):
            picks[match["group"]] = match["option"].strip()
    prefix = "" if at_root or not group else f"{group}."
    keys = tuple(
        replace(key, path=prefix + key.path)
        for key in stated
        if key.path.rpartition(".")[2] not in PLUMBING and not key.path.startswith("hydra")
    )
    return Option(name, header, target, tuple(parents), picks, keys, at_root or not group)


def _chosen(root: Option, typed: Mapping[str, str]) -> dict[str, str]:
    """The option of each group, those that options bring included; what is typed wins, then what is brought."""
    chosen = {**root.picks, **typed}
    while True:  # options bring options that bring options
        before = dict(chosen)
        for group, option in before.items():
            if option not in NO_OPTION:
                chosen |= _brought(group, option)
        chosen |= typed
        if chosen == before:
            return chosen


def _brought(group: str, name: str) -> dict[str, str]:
    """What an option picks for other groups, its parents' picks first."""
    option = read_option(group, name)
    picks: dict[str, str] = {}
    for parent in option.parents:
        picks |= _brought(group, parent)
    return picks | dict(option.picks)


def _header(lines: Sequence[str]) -> tuple[str, bool]:
    """The comment at the top, and whether the file's keys lie at the root."""
    words: list[str] = []
    at_root = False
    for line in lines:
        if not line.startswith("#"):
            break
        if line.startswith("# @package"):
            at_root = "_global_" in line
        elif not line.startswith("#  "):  # an indented line is a command
            words.append(line.removeprefix("#").strip())
    return " ".join(words), at_root


def _defaults(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The entries of the defaults list, each with its comment."""
    inside = False
    for line in lines:
        code, text = _split(line)
        if code.startswith("defaults:"):
            inside = True
            listed = code.removeprefix("defaults:").strip(" []")
            yield from ((entry.strip(), "") for entry in listed.split(",") if entry.strip())
        elif inside and code.lstrip().startswith("- "):
            yield code.lstrip().removeprefix("- ").strip(), text
        elif code.strip():
            inside = False


def _said_of_groups(path: Path) -> dict[str, str]:
    """The comments beside the groups of a config's defaults list."""
    found = {}
    for entry, text in _defaults(path.read_text(encoding="utf-8").splitlines()):
        match = _DEFAULT.match(entry)
        if match is not None:
            found[match["group"]] = text
    return found


def _stated(lines: Sequence[str]) -> Iterator[Key]:
    """The keys of a file, with dotted paths, in its order; parts that consist of keys only if they say something."""
    above: list[str] = []
    branches: list[tuple[int, str]] = []
    waiting: Key | None = None  # one without a value, which may be a part, or have a list below it
    for number, line in enumerate(lines):
        code, text = _split(line)
        if not code.strip():
            above = [*above, text] if text and not _in_header(lines, number) else []
            continue
        if code.lstrip().startswith("- "):
            if waiting is not None:
                item = code.strip().removeprefix("- ")
                waiting = replace(
                    waiting, default=f"{waiting.default[:-1]}, {item}]" if waiting.default else f"[{item}]"
                )
            continue
        match = _LINE.match(code)
        if match is None:
            continue
        if waiting is not None and (waiting.default or waiting.text):
            yield waiting
        waiting = None
        indent = len(match["indent"])
        branches = [branch for branch in branches if branch[0] < indent]
        path = ".".join([*(name for _, name in branches), match["key"]])
        said, above = text or " ".join(above), []
        value = (match["value"] or "").strip()
        if path == "defaults":
            continue
        if not value:
            branches.append((indent, match["key"]))
            waiting = Key(path, "", said)
        elif value.startswith("{") and value != "{}":
            yield from _of_mapping(path, value, said)
        else:
            yield Key(path, _FALLBACK.sub(r"\1", value.strip("\"'")), said)
    if waiting is not None and (waiting.default or waiting.text):
        yield waiting


def _of_mapping(path: str, value: str, text: str) -> Iterator[Key]:
    """The keys of a part that is written in one line, `{_target_: X, p: 0.5}`; first the part itself."""
    pairs = [entry.partition(":") for entry in _entries(value[1:-1])]
    named = [(key.strip(), rest.strip().strip("\"'")) for key, _, rest in pairs]
    yield Key(path, dict(named).get("_target_", ""), text)
    yield from (Key(f"{path}.{key}", stated) for key, stated in named)


def _entries(text: str) -> list[str]:
    """What commas part, outside of brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [entry for entry in found if entry.strip()]


def _split(line: str) -> tuple[str, str]:
    """A line without its comment, and the comment; a `#` in quotes or inside a word begins none."""
    quote = ""
    for place, letter in enumerate(line):
        if letter in "\"'":
            quote = "" if quote == letter else quote or letter
        if letter == "#" and not quote and (place == 0 or line[place - 1] == " "):
            return line[:place].rstrip(), line[place + 1 :].strip()
    return line.rstrip(), ""


def _in_header(lines: Sequence[str], number: int) -> bool:
    """Whether only comments stand above a line."""
    return all(line.startswith("#") for line in lines[:number])
