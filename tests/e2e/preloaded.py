"""Programs in processes that are forked from one that has imported everything: to start afresh takes each of them
seconds, which is most of what a tiny training takes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch.multiprocessing

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([f"emsyolo.app.{task}" for task in ("train", "evaluate", "predict", "export")])


def run_afresh(words: Sequence[str], folder: Path, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """As `run_program`, in an interpreter of its own."""
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=folder, check=False)


def run_program(
    words: Sequence[str], folder: Path, timeout_s: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What `python PROGRAM WORD...` does and says in a folder.

    Args:
        words: the path of the program, then what is typed after it.
        folder: to run it in.
        timeout_s: after which it is killed.
        environment: added to that of the tests.

    Raises:
        subprocess.TimeoutExpired: it was.
    """
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = start_program(words, folder, out, err, **environment)
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout_s, out.read_text(), err.read_text())
        status = process.exitcode
        assert status is not None
        return subprocess.CompletedProcess(list(words), status, out.read_text(), err.read_text())


def start_program(words: Sequence[str], folder: Path, out: Path, err: Path, **environment: str) -> ForkServerProcess:
    """Start `python PROGRAM WORD...`, which writes what it says to two files."""
    process = FORKING.Process(target=_become, args=(list(words), folder, {**os.environ, **environment}, out, err))
    process.start()
    return process


def run_in_processes(work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Call `work(rank, *arguments)` in so many processes beside each other; an error in one of them is raised."""
    torch.multiprocessing.start_processes(work, args=arguments, nprocs=count, start_method="forkserver")


def _become(words: list[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # to be found anew
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    sys.argv = list(words)
    sys.path.insert(0, str(Path(words[0]).parent))
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # as an interpreter does when it ends; a forked one does not
