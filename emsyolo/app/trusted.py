"""What a config from a checkpoint may call: a file from a stranger must not run anything."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

TRUST = "EMSYOLO_TRUST"  # names of further constructors, separated by commas
TARGET = re.compile(r"_target_:\s*[\"']?([\w.]+)")
RESOLVER = re.compile(r"\$\{\s*[\w.]+\s*:")  # ${oc.env:HOME}, where ${seed} is a plain reference
MAX_DEPTH = 50


@cache
def known_targets(conf: Path) -> frozenset[str]:
    """Every constructor that the configs of this project name."""
    return frozenset(name for file in conf.rglob("*.yaml") for name in TARGET.findall(file.read_text(encoding="utf-8")))


def check_trusted(config: Any, path: Path, conf: Path) -> None:
    """Refuse a stored config that names a constructor which no config of this project names, or calls a resolver.

    Args:
        config: as stored, not resolved.
        path: of the checkpoint, for the message.
        conf: the folder of this project's configs.

    Raises:
        ValueError: names the file, the key and the value.
    """
    own = {word.strip() for word in os.environ.get(TRUST, "").split(",") if word.strip()}
    _check(config, path, "config", known_targets(conf) | own, 0)


def _check(value: Any, path: Path, key: str, allowed: frozenset[str] | set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"checkpoint {path}: {key[:80]} is nested too deeply; it was not written by emsyolo")
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "_target_" and (not isinstance(one, str) or one not in allowed):
                raise ValueError(
                    f"checkpoint {path}: {key}._target_ is {str(one)[:200]!r}, which no config of emsyolo names; it is "
                    f"not called. If you wrote it yourself, set {TRUST}={str(one)[:200]} in the environment"
                )
            _check(one, path, f"{key}.{name}", allowed, depth + 1)
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            _check(one, path, f"{key}[{place}]", allowed, depth + 1)
    elif isinstance(value, str) and RESOLVER.search(value):
        raise ValueError(f"checkpoint {path}: {key} is {value[:200]!r}; expected plain values and references to keys")
