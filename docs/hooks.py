"""What MkDocs makes of the documentation besides its pages: the reference of all keys, from the comments in `conf/`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a clone need not be installed

from emsyolo.app import keys  # noqa: E402
from emsyolo.app.keys import Key, Option  # noqa: E402

PLACE = re.compile(r"^\{\{ (?P<what>keys|group|table|benchmarks) (?P<name>\w+) \}\}$", re.MULTILINE)
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
MARKS = re.compile(r"^ *<!-- [\w ]+ -->\n", re.MULTILINE)  # of tests/docs


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page with its tables of keys filled in, and without the marks that the tests of its commands read."""
    makers = {"keys": of_command, "group": of_group, "table": overview, "benchmarks": benchmarks}
    filled = PLACE.sub(lambda match: makers[match["what"]](match["name"]), markdown)
    return MARKS.sub("", filled)


def of_command(config: str) -> str:
    """The table of the keys that a command has itself; `common`: of those that all have."""
    stated = keys.read_option("", config).keys
    return table([key for key in stated if not key.path.startswith("hydra")])


def of_group(group: str) -> str:
    """The options of a group: a table of all, then the keys that each states."""
    return "\n\n".join([overview(group), *(section(group, option) for option in keys.options(group))])


def overview(group: str) -> str:
    """The options of a group in a table."""
    rows = [
        f"| [`{option.name}`](#{group}-{option.name}) | {prose(option.summary)} |" for option in keys.options(group)
    ]
    return "\n".join([f"| `{group}=` | what it is |", "|---|---|", *rows])


def section(group: str, option: Option) -> str:
    """An option: what it says, what it begins with and brings, and its own keys."""
    lines = [f"### {group}={option.name} {{#{group}-{option.name}}}", "", prose(option.text)]
    notes = []
    parents = [name for name in option.parents if not name.startswith("_")]
    if parents:
        notes.append("as " + " and ".join(f"[`{group}={name}`](#{group}-{name})" for name in parents) + ", but:")
    brought = [f"`{other}={name}`" for other, name in option.picks.items() if other != "steps"]
    if brought:
        notes.append("brings " + ", ".join(brought))
    if option.target:
        notes.append(f"makes {constructor(option.target)}")
    if notes:
        lines += ["", "*" + "; ".join(reversed(notes)).replace("*", "") + "*"]
    shared = [key for name in option.parents if name.startswith("_") for key in keys.all_keys(group, name)]
    own = {key.path: key for key in [*shared, *option.keys]}
    return "\n".join([*lines, "", table(list(own.values()))])


def table(found: Sequence[Key]) -> str:
    """Keys, defaults and explanations; without those that only hand another key on."""
    shown = [key for key in found if not (REFERENCE.fullmatch(key.default) and not key.text)]
    if not shown:
        return ""
    rows = [f"| `{key.path}` | {default(key)} | {prose(key.text)} |" for key in shown]
    return "\n".join(["| key | default | what it is |", "|---|---|---|", *rows])


def default(key: Key) -> str:
    """A default as a cell: a reference names the key it is taken from, a part the class that it is made by."""
    reference = REFERENCE.fullmatch(key.default)
    if reference:
        return f"as `{reference[1]}`"
    if key.default.startswith(("emsyolo.", "torch.")):
        return f"`{key.default.rpartition('.')[2]}`"
    return f"`{key.default}`" if key.default else ""


def constructor(target: str) -> str:
    """A class by its full name; a link where the Python API documents its module."""
    module = target.rpartition(".")[0]
    return f"[`{target}`][{target}]" if module in documented() else f"`{target}`"


def documented() -> set[str]:
    """The modules that the pages of the Python API document whole."""
    pages = (ROOT / "docs" / "reference" / "api").glob("*.md")
    return {line.split()[1] for page in pages for line in page.read_text().splitlines() if line.startswith("::: ")}


def benchmarks(_: str) -> str:
    """The benchmarks whose results are kept: machine, date and commit, as their files say."""
    rows = []
    for path in sorted((ROOT / "benchmark" / "results").glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        program = path.stem.removesuffix("_cpu").removesuffix("_cuda")
        commit = f"`{facts['commit']}`" if "commit" in facts else "not noted"
        rows.append(f"| `{path.name}` | `benchmark/{program}.py` | {facts['machine']} | {facts['date']} | {commit} |")
    return "\n".join(["| result | program | machine | date | commit |", "|---|---|---|---|---|", *rows])


def prose(text: str) -> str:
    """A comment as Markdown that shows it as it stands; what is in backticks is code."""
    parts = text.split("`")
    plain = [re.sub(r"([\\*_\[\]|])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    coded = [f"`{part}`" for part in parts[1::2]]
    return "".join(piece for pair in zip(plain, [*coded, ""], strict=False) for piece in pair)
