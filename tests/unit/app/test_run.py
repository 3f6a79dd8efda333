"""Errors as one line, and terminals that cannot show everything."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from hydra.errors import InstantiationException

from emsyolo.app.run import any_terminal, message, say_of_a_thread


def test_a_terminal_of_ascii_shows_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    any_terminal()
    print("größe ━")
    stream.flush()
    assert raw.getvalue() == b"gr??e ?\n"


def test_an_error_in_a_thread_is_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(threading, "excepthook", say_of_a_thread)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert caplog.messages == ["error: [Errno 28] No space left on device"]
    assert caplog.records[0].exc_info is None


def test_the_innermost_error_is_said_in_one_line() -> None:
    outer = InstantiationException("Error in call to target 'x':\nValueError(...)\nfull_key: model")
    outer.__cause__ = ValueError("T is 0; expected\n  more")
    assert message(outer) == "T is 0; expected more"
    assert message(ValueError()) == "ValueError"
