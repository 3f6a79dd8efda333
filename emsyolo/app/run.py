"""How a task runs: an error that the user can mend is one clear line, and a sweep goes on after it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from emsyolo.app.config import Asked
from emsyolo.app.runs import discard_run_folder

log = logging.getLogger(__name__)


class NoErrors(logging.Filter):
    """Lets through what is less than an error, which another handler prints on stderr."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is."""
        return record.levelno < logging.ERROR


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
            discard_run_folder(out)
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


def message(error: BaseException) -> str:
    """What an error says, in one line; of a wrapped one, the innermost."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines) if isinstance(error, OmegaConfBaseException) else " ".join(lines)
