"""What a user has to type: `key=value` that the shell and Hydra's grammar read as the value that is meant."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_/.@%+-]+", re.ASCII)  # read as it stands by Hydra and by every shell
_WORDS = re.compile(r"\w+(?:[./]\w+)*=[A-Za-z0-9_/.@%+,\[\]-]*", re.ASCII)
_BEFORE_QUOTE = re.compile(r'(\\*)"')
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def typed(key: str, value: object) -> str:
    r"""One word of a command line that gives `key` this value: `typed("source", "my clip")` is `source='"my clip"'`.

    Args:
        key: a dotted key or a group of the config.
        value: a string or path (but not `???`, with which a config says that a value is missing), a number, a boolean,
            None, or a list of these, which may hold lists.

    Returns:
        The word for a POSIX shell: as plain as `key=a/b` or `key=[a,b]` where that is enough, else quoted.

    Raises:
        ValueError: a value of another type.
    """
    word = f"{key}={in_hydra(value)}"
    # A shell reads [a,b] as a pattern of file names, and keeps it where no file is called `key=a`.
    return word if _WORDS.fullmatch(word) else f"{key}={shlex.quote(in_hydra(value))}"


def in_hydra(value: object) -> str:
    """The value in Hydra's grammar, not yet quoted for a shell.

    Raises:
        ValueError: a value of a type that `typed` does not know.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(in_hydra(item) for item in value)}]"
    if isinstance(value, str | Path):
        text = str(value)
        return text if _PLAIN.fullmatch(text) and not _means_more(text) else _quoted(text)
    raise ValueError(f"{value!r} is a {type(value).__name__}; expected a string, path, number, boolean, None or list")


def _means_more(text: str) -> bool:
    """Whether Hydra would take the word for a number, a boolean or null."""
    if text.lower() in ("true", "false", "null"):
        return True
    try:
        return not math.isnan(float(text)) or text.strip("+-").lower() == "nan"
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """The text in double quotes; where it has some, and no single ones, in those."""
    # ${ would be looked up in the config.
    text = _INTERPOLATION.sub(lambda found: f"{2 * found[1]}\\${{", text)
    mark = "'" if '"' in text and "'" not in text else '"'
    # In Hydra's grammar a backslash counts as one only before a quote, the closing one included.
    before = re.compile(rf"(\\*)({mark}|\Z)")
    inside = before.sub(lambda found: 2 * found[1] + (f"\\{mark}" if found[2] else ""), text)
    return f"{mark}{inside}{mark}"
