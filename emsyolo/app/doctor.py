"""`emsyolo doctor`: what is installed, which device and kernels would run, and what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path

import torch
from packaging.requirements import Requirement

import emsyolo
from emsyolo.app.folder import conf_dir
from emsyolo.device import has_bfloat16, training_precision
from emsyolo.neuron.kernels.gpu import why_not_cupy, why_not_triton

ASIDE = ("test", "cuda12", "cuda13")  # extras that a user does not miss, or that the part on kernels speaks of
MISSING = "missing"
Row = tuple[str, str]


def main(words: Sequence[str] | None = None) -> int:
    """Print it; gives 1 where something that emsyolo needs is missing."""
    parser = argparse.ArgumentParser(
        "emsyolo doctor", description="What is installed, what would run, what is missing."
    )
    parser.parse_args(words)
    needed = list(_needed())
    for title, rows in (
        ("Versions", [("emsyolo", emsyolo.__version__), ("Python", platform.python_version()), *needed]),
        ("Machine", list(_machine())),
        ("What would be chosen", list(_choices())),
        ("Optional", list(_optional())),
        ("Folders", list(_folders())),
    ):
        print(title)
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"  {name:{width}}  {text}" for name, text in rows), end="\n\n")
    return int(any(MISSING in text for _, text in needed))


def _declared(extra: str | None) -> Iterator[Requirement]:
    """What the package's metadata asks for: always, or with an extra."""
    for text in requires("emsyolo") or ():
        requirement = Requirement(text)
        if requirement.name == "emsyolo":
            continue
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always == (extra is None) and (extra is None or (marker and marker.evaluate({"extra": extra}))):
            yield requirement


def _needed() -> Iterator[Row]:
    for requirement in _declared(None):
        yield requirement.name, _version(requirement)


def _version(requirement: Requirement) -> str:
    """The version that is there, and whether it will do."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{MISSING}; pip install '{requirement.name}{requirement.specifier}'"
    if requirement.specifier.contains(found, prereleases=True):
        return found
    wanted = f"{requirement.name}{requirement.specifier}"
    return f"{found}; {MISSING}: {wanted}; pip install -U '{wanted}'"


def _machine() -> Iterator[Row]:
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    threads, instructions = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    yield "CPU", f"{os.cpu_count()} cores, torch uses {threads} threads, {instructions}"
    yield "bfloat16 on the CPU", "computed" if has_bfloat16(torch.device("cpu")) else "not computed, only stored"
    built = torch.version.cuda
    yield "torch is built for", f"CUDA {built}" if built else "the CPU"
    if not torch.cuda.is_available():
        yield "CUDA device", "none" if shutil.which("nvidia-smi") is None else "none that torch can use; see nvidia-smi"
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.cuda.get_device_properties(i)
        yield (
            f"CUDA device {i}",
            f"{device.name}, {device.total_memory / 2**30:.0f} GiB, sm_{device.major}{device.minor}",
        )


def _choices() -> Iterator[Row]:
    """What `auto` means here."""
    gpu = torch.cuda.is_available()
    yield "device=auto", "cuda" if gpu else "cpu: there is no CUDA device"
    yield "trainer.precision=auto", training_precision()
    if gpu:
        why, why_not = why_not_cupy(), why_not_triton()
        taken = "cupy" if why is None else "Triton's kernels" if why_not is None else "torch, which keeps no bits"
        yield "neuron.backend=auto", f"{taken}{f': {why}' if why else ''}{f'; {why_not}' if why and why_not else ''}"
    else:
        numba = find_spec("numba") is not None
        yield "neuron.backend=auto", "numba, compiled for this CPU" if numba else "torch: numba is not installed"
        why = why_not_cupy()
        yield "neuron.backend=cupy", f"not here: {why or 'there is no CUDA device'}"


def _optional() -> Iterator[Row]:
    """The extras and what of them is missing."""
    for extra in metadata("emsyolo").get_all("Provides-Extra") or ():
        if extra in ASIDE:
            continue
        missing = [one.name for one in _declared(extra) if not _installed(one.name)]
        yield extra, f"without {', '.join(missing)}; pip install 'emsyolo[{extra}]'" if missing else "installed"


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _folders() -> Iterator[Row]:
    here = Path.cwd()
    yield "configs", str(conf_dir())
    free = shutil.disk_usage(here).free / 2**30
    writable = "" if os.access(here, os.W_OK) else "; NOT WRITABLE: type runs_dir=FOLDER data_dir=FOLDER"
    yield "runs/ and data/ go to", f"{here}, {free:.0f} GiB free{writable}"
