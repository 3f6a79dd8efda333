"""Fetch published weights: `python -m emsyolo.weights.fetch yolov3-tiny`."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch.hub

from emsyolo.weights.published import PUBLISHED, Published, PublishedFile
from emsyolo.weights.resumed import resumed

BROKEN_OFF = (ConnectionError, TimeoutError, HTTPException)  # of a connection that was there


def fetch(name: str, folder: Path) -> list[Path]:
    """The files of published weights in a folder; those that are there already are verified and not fetched again.

    What a broken download leaves, `*.part`, is continued by the next one. No file has its name before its SHA-256 is
    the published one.

    Args:
        name: a key of `PUBLISHED`.
        folder: is made if it is not there.

    Returns:
        The paths, in the order of `PUBLISHED`.

    Raises:
        ValueError: an unknown name, or content that is not the published one.
        ConnectionError: an address cannot be reached; says what to put where by hand.
        OSError: the folder cannot be written.
    """
    if name not in PUBLISHED:
        raise ValueError(f"{name}: not known; expected one of {', '.join(PUBLISHED)}")
    published = PUBLISHED[name]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in published.files if not _is_there(file, folder)]
    for i, file in enumerate(missing):
        try:
            _download(file, folder)
        except (URLError, *BROKEN_OFF) as error:
            raise ConnectionError(f"{file.address}: {error}; {_by_hand(missing[i:], folder)}") from error
    return [folder / file.name for file in published.files]


def _is_there(file: PublishedFile, folder: Path) -> bool:
    """Whether it is in the folder already.

    Raises:
        ValueError: another file has its name.
    """
    path = folder / file.name
    if not path.exists():
        return False
    found = _sha256(path)
    if found != file.sha256:
        raise ValueError(
            f"{path}: SHA-256 is {found}, expected {file.sha256}; move this file away and run this again, or give "
            "another folder by --to"
        )
    return True


def _download(file: PublishedFile, folder: Path) -> None:
    """Fetch one file, as often as the connection breaks but brings more than before.

    Raises:
        URLError, OSError, HTTPException: of the network, when a try brings nothing; of the disk.
        ValueError: the content is not the published one; nothing of it is kept.
    """
    for leftover in folder.glob(f"{file.name}.*.partial"):  # torch.hub's own, of a process that was killed
        leftover.unlink()
    part = folder / f"{file.name}.part"
    while True:
        before = _size(part)
        try:
            with resumed(part, file.bytes):
                torch.hub.download_url_to_file(
                    file.address, str(folder / file.name), file.sha256, progress=sys.stderr.isatty()
                )
        except BROKEN_OFF:
            if _size(part) <= before:
                raise
        except RuntimeError as error:  # torch.hub's, for another SHA-256
            found, size = _sha256(part), _size(part)
            part.unlink()
            raise ValueError(
                f"{file.address}: SHA-256 of what came is {found} ({size} bytes), expected {file.sha256} "
                f"({file.bytes} bytes); nothing of it was kept. Run this again; if it stays so, the address has "
                f"another file now: {_by_hand([file], folder)}"
            ) from error
        else:
            part.unlink()
            return


def _by_hand(files: Sequence[PublishedFile], folder: Path) -> str:
    listed = ", ".join(f"{file.name} from {file.address} (SHA-256 {file.sha256})" for file in files)
    return f"by hand: put into {folder.resolve()} {listed}, and run this again to verify"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(name: str, published: Published) -> str:
    total = sum(file.bytes for file in published.files) / 1e6
    lines = [f"{name}: {published.what}, {total:.1f} MB, from {published.source} ({published.licence})"]
    return "\n".join(lines + [f"    {file.name}  {file.address}  SHA-256 {file.sha256}" for file in published.files])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    parser = argparse.ArgumentParser("python -m emsyolo.weights.fetch", description="Fetch published weights.")
    parser.add_argument("name", nargs="?", help="of the weights; see --list")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: weights/NAME")
    parser.add_argument("--list", action="store_true", help="what there is, with addresses and SHA-256")
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(_described(name, published) for name, published in PUBLISHED.items()))
        return 0
    if given.name is None:
        parser.error("a name is missing; --list shows what there is")
    try:
        paths = fetch(given.name, given.to or Path("weights", given.name))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run this again to go on", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
