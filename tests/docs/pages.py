"""What stands on the pages: fenced commands and programs, each with the mark above it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").rglob("*.md")),
]  # fmt: skip
TASKS = ("train", "evaluate", "predict", "export")
SHELLS = ("shell", "console", "bash", "sh")
# The whole list of marks, which stand as an HTML comment above a fence of commands or Python:
RUNS = "runs"  # is run by the tests, with the cheap settings that `test_commands.py` and `conftest.py` list
ELSEWHERE = "runs elsewhere"  # is run by another test, of `tests/e2e`
HAND = "by hand"  # set-up and tools; only the names of targets, extras and tools are checked
NEEDS = ("needs data", "needs gpu", "needs network", "needs a cluster", "needs time")  # is composed
MARKS = (RUNS, ELSEWHERE, HAND, *NEEDS)
FENCE = re.compile(
    r"(?:^[ \t]*<!-- (?P<mark>[\w ]+) -->\n)?"
    r"^(?P<indent>[ \t]*)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"`((?:emsyolo|python) [^`\n]*=[^`\n]*)`")


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page.

    Attributes:
        page: its path from the root.
        line: of the page, from 1.
        mark: above it, or nothing.
        language: `shell`, `python`, `text`, ...
        body: its text.
    """

    page: str
    line: int
    mark: str
    language: str
    body: str


@dataclass(frozen=True)
class Command:
    """A task with its words, as a shell would hand them over.

    Attributes:
        where: page and line.
        mark: of its fence; of one inside a sentence `needs time`.
        words: all of the line.
        task: `train`, `evaluate`, `predict` or `export`; nothing for another program.
        overrides: the words after it.
    """

    where: str
    mark: str
    words: tuple[str, ...]
    task: str
    overrides: tuple[str, ...]


def fences() -> list[Fence]:
    """Every fenced block of every page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start("indent")) + 1
            found.append(
                Fence(str(page.relative_to(ROOT)), line, match["mark"] or "", match["language"], match["body"])
            )
    return found


def commands() -> list[Command]:
    """Every command of every page, those inside sentences and tables included."""
    found = []
    for fence in fences():
        if fence.language in SHELLS:
            for line in lines_of(fence.body):
                found.append(command(shlex.split(line, comments=True), f"{fence.page}:{fence.line}", fence.mark))
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for match in INLINE.finditer(text):
            found.append(command(shlex.split(match[1]), f"{page.relative_to(ROOT)}: {match[1]}", "needs time"))
    return found


def lines_of(body: str) -> Iterator[str]:
    """The lines of a shell's block, continued ones joined, without prompts and comments."""
    for line in body.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if line and not line.startswith("#"):
            yield line


def command(words: Sequence[str], where: str, mark: str) -> Command:
    """A line's words as a command: `emsyolo TASK`, `python TASK.py`, or that behind `torchrun` or `srun`."""
    words = [word for place, word in enumerate(words) if place or not re.fullmatch(r"[A-Z_]+=\S*", word)]
    for place, word in enumerate(words[:-1] if words[0] == "emsyolo" else words):
        if words[0] == "emsyolo" and words[place + 1] in TASKS:
            return Command(where, mark, tuple(words), words[place + 1], tuple(words[place + 2 :]))
        if word.removesuffix(".py") in TASKS and word.endswith(".py"):
            return Command(where, mark, tuple(words), word.removesuffix(".py"), tuple(words[place + 1 :]))
    return Command(where, mark, tuple(words), "", ())


def first_of_sweep(words: Sequence[str]) -> list[str]:
    """The words of the first run of a sweep."""
    parser = OverridesParser.create()
    found = []
    for word in words:
        if "=" not in word or word.startswith("-"):
            continue
        (parsed,) = parser.parse_overrides([word])
        if parsed.is_sweep_override() and parsed.is_discrete_sweep():
            word = f"{word.partition('=')[0]}={next(parsed.sweep_string_iterator())}"
        found.append(word)
    return found
