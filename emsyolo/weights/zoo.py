"""The zoo: trained detectors that come with the package, as `zoo:NAME` wherever a checkpoint is asked for."""

from __future__ import annotations

from pathlib import Path

ZOO = Path(__file__).resolve().parents[1] / "zoo"
PREFIX = "zoo:"
SUFFIX = ".safetensors"


def zoo_names() -> list[str]:
    """The names of the detectors in the zoo."""
    return sorted(path.stem for path in ZOO.glob(f"*{SUFFIX}"))


def checkpoint_path(named: str | Path) -> Path:
    """The file of a checkpoint: the path itself, or of `zoo:NAME` that in the zoo.

    Raises:
        FileNotFoundError: the zoo has none of that name; lists those that it has.
    """
    text = str(named)
    if not text.startswith(PREFIX):
        return Path(named)
    name, names = text.removeprefix(PREFIX), zoo_names()
    if name not in names:
        raise FileNotFoundError(f"{text}: the zoo has no such network; expected one of {', '.join(map(in_zoo, names))}")
    return ZOO / f"{name}{SUFFIX}"


def in_zoo(name: str) -> str:
    """What to type for a detector of the zoo."""
    return f"{PREFIX}{name}"


def beside(checkpoint: Path) -> Path:
    """Where something made of a checkpoint goes, without a suffix: beside it; of the zoo's, into the working folder."""
    stem = checkpoint.with_suffix("")
    return Path(stem.name) if checkpoint.resolve().parent == ZOO else stem
