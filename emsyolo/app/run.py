"""How a task runs: an error that the user can mend is one clear line, and a sweep goes on after it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from emsyolo.app.config import Asked, conf_dir
from emsyolo.typed import typed

log = logging.getLogger(__name__)
WITH_A_VALUE = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun", "--info", "-i",
)  # fmt: skip
USER_ERRORS = (ValueError, OSError, InstantiationException, OmegaConfBaseException)


def run(task: Callable[[Asked], Mapping[str, Any] | None], cfg: DictConfig) -> float | None:
    """Do a task, and give its mAP if it measures one, which a sweeper may optimise.

    Ends the program with status 1 and one line if it fails by its input, 130 if it is interrupted.

    In a multirun any failure, such as memory that does not suffice, is recorded in the run's folder (`error.txt`), and
    the sweep goes on with the next run.
    """
    any_terminal()
    threading.excepthook = say_of_a_thread
    asked = Asked.of_hydra(cfg)
    sweeping, out = asked.sweep, asked.out
    if sweeping:
        out.mkdir(parents=True, exist_ok=True)
        (out / "overrides.yaml").write_text(yaml.safe_dump(list(asked.overrides)), encoding="utf-8")
    try:
        metrics = task(asked)
        return None if metrics is None else float(metrics.get("mAP") or 0.0)
    except KeyboardInterrupt:
        log.info("interrupted; resume=last goes on")
        sys.exit(130)
    except Exception as error:
        expected = isinstance(error, USER_ERRORS)
        if not (expected or sweeping):
            raise
        line = message(error) if expected else f"{type(error).__name__}: {message(error)}"
        log.error("error: %s", line, exc_info=not expected)
        if not sweeping:
            sys.exit(1)
        (out / "error.txt").write_text(line + "\n", encoding="utf-8")
        return None


def say_of_a_thread(failure: threading.ExceptHookArgs) -> None:
    """Of a logger's thread, say: the disk is full for it as for the task, which ends by itself."""
    error = failure.exc_value
    if error is not None:
        log.error("error: %s", message(error), exc_info=None if isinstance(error, USER_ERRORS) else error)


def any_terminal() -> None:
    """Print what the terminal's encoding lacks as question marks: a message must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def check_words(words: Sequence[str]) -> None:
    """End the program with one line if Hydra's grammar cannot read a word of the command line.

    Args:
        words: what was typed after the script's name.
    """
    any_terminal()
    parser = OverridesParser.create()
    for before, word in pairwise(("", *words)):
        if word.startswith(("-", "~")) or before in WITH_A_VALUE:
            continue
        if "=" not in word:
            print(
                f"error: {word}: expected KEY=VALUE. If the shell made several words of a blank or a *, quote the "
                f"whole: {typed('source', 'FOLDER/*.jpg')}",
                file=sys.stderr,
            )
            sys.exit(1)
        group, _, option = word.lstrip("+").partition("=")
        if option == "null" and (conf_dir() / group).is_dir():  # Hydra's own message names neither
            options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
            print(f"error: {word}: expected an option of this group: {', '.join(options)}", file=sys.stderr)
            sys.exit(1)
        try:
            parser.parse_overrides([word])
        except HydraException:
            key, _, value = word.partition("=")
            print(
                f"error: {word} cannot be read; blanks, parentheses, commas and letters beyond ASCII must be quoted, "
                f"for Hydra and for the shell. Type {typed(key, value)}",
                file=sys.stderr,
            )
            sys.exit(1)


def message(error: BaseException) -> str:
    """What an error says, in one line; of a wrapped one, the innermost."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines) if isinstance(error, OmegaConfBaseException) else " ".join(lines)
