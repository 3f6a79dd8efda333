"""Downloads that go on where an earlier one broke off, for whoever opens addresses by urllib."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, BinaryIO, cast
from urllib.response import addinfourl

PARTIAL_CONTENT = 206


@contextmanager
def resumed(part: Path, bytes_of_all: int) -> Iterator[None]:
    """Within the block, `urlopen` gives what `part` holds and asks the server for the rest, which it adds to `part`.

    A server that does not know ranges sends everything, and `part` starts anew. It is left where it is, whatever
    happens. One download at a time: urllib's opener is one for the whole process, and its own again afterwards.

    Args:
        part: the file for what has come so far; need not exist.
        bytes_of_all: size of the whole. Of a part as long as this the last byte is asked for again, because there is
            no range behind it.
    """
    urllib.request.install_opener(urllib.request.build_opener(_Resume(part, bytes_of_all)))
    try:
        yield
    finally:
        urllib.request.install_opener(urllib.request.build_opener())


class _Resume(urllib.request.BaseHandler):
    """Asks for what is missing, and puts in front of it what is there."""

    handler_order = 1100  # after urllib's own, which raises errors and follows redirections

    def __init__(self, part: Path, bytes_of_all: int) -> None:
        self.part, self.bytes_of_all = part, bytes_of_all

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        kept = min(self.part.stat().st_size, self.bytes_of_all - 1) if self.part.exists() else 0
        request.add_header("Range", f"bytes={kept}-")
        return request

    def http_response(self, request: urllib.request.Request, response: HTTPResponse | addinfourl) -> addinfourl:
        if isinstance(response, addinfourl):  # redirected, and seen at its new address
            return response
        asked = int((request.get_header("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        kept = asked if response.status == PARTIAL_CONTENT else 0
        rest = response.headers.get("Content-Length")
        whole = None if rest is None else kept + int(rest)
        headers = Message()
        if whole is not None:
            headers["Content-Length"] = str(whole)
        self.part.touch()
        file = self.part.open("r+b")
        file.truncate(kept)
        return addinfourl(cast(IO[bytes], _Whole(file, response, whole)), headers, response.url, response.status)

    https_request = http_request
    https_response = http_response


class _Whole(io.RawIOBase):
    """Reads the part, then the response, and writes this to the part."""

    def __init__(self, part: BinaryIO, response: HTTPResponse, whole: int | None) -> None:
        self.part, self.response, self.whole = part, response, whole

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them.

        Raises:
            ConnectionError: the server closed the connection before all was there.
        """
        if data := self.part.read(size):
            return data
        data = self.response.read(size)
        self.part.write(data)
        if not data and self.whole is not None and self.part.tell() < self.whole:
            raise ConnectionError(f"cut off after {self.part.tell()} of {self.whole} bytes")
        return data

    def close(self) -> None:
        """Close both."""
        self.part.close()
        self.response.close()
        super().close()
