"""Every command on every page is composed, and run where that is cheap; every program on the pages is run.

What a fence needs stands above it as an HTML comment; `pages.py` lists the words.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hydra.errors import HydraException
from pages import (
    ELSEWHERE,
    HAND,
    MARKS,
    ROOT,
    RUNS,
    SHELLS,
    Command,
    commands,
    fences,
    first_of_sweep,
)

from emsyolo.app.command import TASKS, TOOLS
from emsyolo.app.config import compose_config
from emsyolo.app.folder import conf_dir
from emsyolo.app.words import understood

FENCES, COMMANDS = fences(), commands()
TYPED = [one for one in COMMANDS if one.task and "--config-dir" not in one.overrides]
PROGRAMS = {fence.page for fence in FENCES if fence.language == "python" and fence.mark == RUNS}
OTHER = ("git", "cd", "make", "pip", "eval", "source", "python", "torchrun", "srun", "emsyolo")


def test_every_fence_says_what_it_is_and_what_it_needs() -> None:
    assert [f"{fence.page}:{fence.line}" for fence in FENCES if not fence.language] == []
    marked = [fence for fence in FENCES if fence.language in (*SHELLS, "python") and "--8<--" not in fence.body]
    assert [f"{fence.page}:{fence.line} {fence.mark}" for fence in marked if fence.mark not in MARKS] == []


def composed_sets() -> dict[tuple[str, tuple[str, ...]], list[Command]]:
    """Commands by task and options: which keys there are depends on these, so one composition serves them all."""
    found: dict[tuple[str, tuple[str, ...]], list[Command]] = defaultdict(list)
    for one in TYPED:
        if not refused(one):
            found[one.task, tuple(sorted(set(groups(hydra_words(one)))))].append(one)
    return found


def refused(one: Command) -> str:
    """Why the words of a command are not understood; nothing if they are."""
    try:
        hydra_words(one)
    except ValueError as error:
        return str(error)
    return ""


def test_every_word_is_understood() -> None:
    assert [(one.where, refused(one)) for one in TYPED if refused(one)] == []


def hydra_words(one: Command) -> list[str]:
    """The words of a command as Hydra would have them, of a sweep those of the first run."""
    return first_of_sweep(understood(one.task, one.overrides, f"emsyolo {one.task}"))


def groups(words: Sequence[str]) -> list[str]:
    return [word for word in words if (conf_dir() / word.partition("=")[0]).is_dir() or word.startswith("hydra/")]


SETS = composed_sets()


@pytest.mark.parametrize("typed", SETS, ids=lambda typed: " ".join([typed[0], *typed[1]]))
def test_commands_compose(typed: tuple[str, tuple[str, ...]]) -> None:
    task, options = typed
    keys = {word.partition("=")[0]: word for one in SETS[typed] for word in hydra_words(one) if word not in options}
    words = [word for key, word in keys.items() if not key.startswith("hydra.")]
    try:
        compose_config(task, [*(word for word in options if not word.startswith("hydra/")), *words])
    except HydraException as error:
        pytest.fail(f"{error}; one of {[one.where for one in SETS[typed]]}")


def test_other_programs_exist() -> None:
    for one in (one for one in COMMANDS if not one.task):
        first, *rest = one.words
        assert first in OTHER, one.where
        if first == "emsyolo" and rest:
            assert rest[0] in {*TASKS, *TOOLS}, one.where
        if first == "make":
            assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(), one.where
        if first == "pip":
            extras = re.findall(r"emsyolo\[(\w+)\]", one.words[-1])
            assert all(f"\n{extra} =" in (ROOT / "setup.cfg").read_text() for extra in extras), one.where
        if first == "python" and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file(), one.where


def test_examples_on_pages_are_run_by_their_tests() -> None:
    tests = "".join(path.read_text() for path in [*ROOT.glob("tests/e2e/*.py"), *ROOT.glob("tests/docs/*.py")])
    for one in (one for one in COMMANDS if one.mark == ELSEWHERE):
        assert Path(one.words[1]).name in tests, one.where


@pytest.mark.slow
def test_commands_run(run_task: Callable[[str, Sequence[str]], None]) -> None:
    once = dict.fromkeys((one.task, one.overrides) for one in TYPED if one.mark == RUNS)
    # Trainings first, the default last, so that it is the newest run.
    for task, words in sorted(once, key=lambda one: (one[0] != "train", not one[1])):
        run_task(task, words)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(PROGRAMS))
def test_programs_run(page: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("a_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there
    for fence in FENCES:
        if (fence.page, fence.language, fence.mark) == (page, "python", RUNS):
            code = "\n" * fence.line + fence.body  # so that a traceback has the line of the page
            exec(compile(code, str(ROOT / page), "exec", dont_inherit=True), module.__dict__)


def test_python_that_is_not_run_can_be_read() -> None:
    for fence in FENCES:
        if fence.language == "python" and "--8<--" not in fence.body and fence.mark != HAND:
            ast.parse(fence.body, f"{fence.page}:{fence.line}")
