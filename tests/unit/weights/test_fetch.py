"""Published weights, fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from emsyolo.weights import fetch as module
from emsyolo.weights.fetch import fetch, main
from emsyolo.weights.published import PUBLISHED, Published, PublishedFile

CONTENT = {"a.weights": bytes(range(256)) * 2000, "a.cfg": b"[net]\nwidth=64\n"}


class Server(ThreadingHTTPServer):
    """What it does with a request is said by its attributes; `ranges` is what was asked, per file."""

    content = CONTENT
    knows_ranges = True
    sends_at_most: int | None = None  # bytes of an answer, before the connection is closed
    redirects = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[tuple[str, str | None]] = []

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, name = self.server, self.path.removeprefix("/")
        if server.redirects and not name.startswith("moved/"):
            self.send_response(301)
            self.send_header("Location", server.address(f"moved/{name}"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        name = name.removeprefix("moved/")
        server.ranges.append((name, self.headers["Range"]))
        if name not in server.content:
            self.send_error(404)
            return
        body, start = server.content[name], 0
        if server.knows_ranges and self.headers["Range"]:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: server.sends_at_most])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _publish(monkeypatch, server.address)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _publish(monkeypatch: pytest.MonkeyPatch, address: Callable[[str], str]) -> None:
    """The table has one row `a`, of these files."""
    files = tuple(
        PublishedFile(name, address(name), hashlib.sha256(body).hexdigest(), len(body))
        for name, body in CONTENT.items()
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PUBLISHED", {"a": Published("a network", "http://page", "free", files)})


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_files_are_there_and_nothing_else(server: Server, tmp_path: Path) -> None:
    paths = fetch("a", tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["a.weights", "a.cfg"]
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert _names(tmp_path / "new" / "folder") == ["a.cfg", "a.weights"]


def test_what_is_there_is_verified_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.weights").write_bytes(CONTENT["a.weights"])
    fetch("a", tmp_path)
    assert [name for name, _ in server.ranges] == ["a.cfg"]
    fetch("a", tmp_path)
    assert len(server.ranges) == 1


def test_another_file_of_that_name_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("mine")
    with pytest.raises(ValueError, match=r"a\.cfg: SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}; move this file"):
        fetch("a", tmp_path)
    assert (tmp_path / "a.cfg").read_text() == "mine"
    assert server.ranges == []


def test_a_part_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"][:1234])
    fetch("a", tmp_path)
    assert server.ranges[0] == ("a.weights", "bytes=1234-")
    assert (tmp_path / "a.weights").read_bytes() == CONTENT["a.weights"]
    assert _names(tmp_path) == ["a.cfg", "a.weights"]


@pytest.mark.parametrize("more", [0, 10])
def test_a_part_as_long_as_the_whole(server: Server, tmp_path: Path, more: int) -> None:
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"] + bytes(more))
    fetch("a", tmp_path)
    assert server.ranges[0] == ("a.weights", "bytes=511999-")
    assert (tmp_path / "a.weights").read_bytes() == CONTENT["a.weights"]


def test_a_server_that_cuts_off_is_asked_for_the_rest(server: Server, tmp_path: Path) -> None:
    server.sends_at_most = 200_000
    fetch("a", tmp_path)
    asked = [wanted for name, wanted in server.ranges if name == "a.weights"]
    assert asked == ["bytes=0-", "bytes=200000-", "bytes=400000-"]
    assert (tmp_path / "a.weights").read_bytes() == CONTENT["a.weights"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "a.weights.part").write_bytes(b"of something else")
    fetch("a", tmp_path)
    assert (tmp_path / "a.weights").read_bytes() == CONTENT["a.weights"]


def test_without_ranges_a_server_that_always_cuts_off_is_given_up(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.sends_at_most = False, 200_000
    with pytest.raises(ConnectionError, match="cut off after 200000 of 512000 bytes; by hand: put into"):
        fetch("a", tmp_path)
    assert _names(tmp_path) == ["a.weights.part"]
    server.sends_at_most, server.knows_ranges = None, True
    fetch("a", tmp_path)
    assert server.ranges[-2] == ("a.weights", "bytes=200000-")


def test_a_redirection_is_followed_with_the_range(server: Server, tmp_path: Path) -> None:
    server.redirects = True
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"][:1234])
    fetch("a", tmp_path)
    assert server.ranges[0] == ("a.weights", "bytes=1234-")
    assert (tmp_path / "a.weights").read_bytes() == CONTENT["a.weights"]


def test_wrong_content_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT | {"a.weights": b"<html>moved</html>"}
    found = hashlib.sha256(b"<html>moved</html>").hexdigest()
    expected = hashlib.sha256(CONTENT["a.weights"]).hexdigest()
    with pytest.raises(ValueError, match=rf"{found} \(18 bytes\), expected {expected} \(512000 bytes\); nothing of it"):
        fetch("a", tmp_path)
    assert _names(tmp_path) == []


def test_a_part_of_another_file_leaves_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.weights.part").write_bytes(bytes(1234))
    with pytest.raises(ValueError, match="Run this again"):
        fetch("a", tmp_path)
    assert _names(tmp_path) == []
    fetch("a", tmp_path)


def test_what_a_killed_process_left_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.weights.0123abcd.partial").write_bytes(bytes(5))
    fetch("a", tmp_path)
    assert _names(tmp_path) == ["a.cfg", "a.weights"]


def test_a_file_that_is_gone_is_named_with_what_to_do(server: Server, tmp_path: Path) -> None:
    server.content = {"a.weights": CONTENT["a.weights"]}
    with pytest.raises(ConnectionError) as caught:
        fetch("a", tmp_path)
    assert str(caught.value).startswith(f"{server.address('a.cfg')}: HTTP Error 404")
    assert "a.weights" not in str(caught.value)


def test_urllib_is_as_before(server: Server, tmp_path: Path) -> None:
    fetch("a", tmp_path)
    with urllib.request.urlopen(server.address("a.cfg")) as response:
        assert response.status == 200
    assert server.ranges[-1] == ("a.cfg", None)


def test_without_a_network_the_command_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _publish(monkeypatch, lambda name: f"http://127.0.0.1:{port}/{name}")
    assert main(["a", "--to", str(tmp_path)]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == 1
    for word in ("Connection refused", str(tmp_path), *CONTENT):
        assert word in written.err
    for name, body in CONTENT.items():
        assert f"from http://127.0.0.1:{port}/{name} (SHA-256 {hashlib.sha256(body).hexdigest()})" in written.err


def test_the_command_writes_into_weights_by_default(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["a"]) == 0
    assert capsys.readouterr().out.split() == ["weights/a/a.weights", "weights/a/a.cfg"]
    assert _names(tmp_path / "weights" / "a") == ["a.cfg", "a.weights"]


def test_the_command_in_a_process_of_its_own(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "emsyolo.weights.fetch", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    listed = run("--list")
    assert listed.returncode == 0
    for published in PUBLISHED.values():
        assert all(file.address in listed.stdout and file.sha256 in listed.stdout for file in published.files)
    unknown = run("yolov9", "--to", str(tmp_path / "new"))
    assert unknown.returncode == 1
    assert unknown.stderr == "yolov9: not known; expected one of yolov3-tiny\n"
    assert not (tmp_path / "new").exists()


def test_the_table_is_well_formed() -> None:
    for published in PUBLISHED.values():
        for file in published.files:
            assert file.address.startswith("https://")
            assert file.address.endswith(f"/{file.name}")
            assert len(file.sha256) == 64
            int(file.sha256, 16)
