"""Words that Hydra's grammar cannot read, and terminals that cannot show everything."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from hydra.errors import InstantiationException

from emsyolo.app.run import any_terminal, check_words, message, say_of_a_thread


@pytest.mark.parametrize(
    ("word", "proposed"),
    [
        ("dataset.root=/data (1)", """dataset.root='"/data (1)"'"""),
        ("source=a,b (c).jpg", """source='"a,b (c).jpg"'"""),
        ("dataset.root=größe: x", """dataset.root='"größe: x"'"""),
    ],
)
def test_a_word_that_cannot_be_read_is_explained(word: str, proposed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        check_words(["T=2", "-m", word])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {word} cannot be read")
    assert f"Type {proposed}" in said
    assert said.count("\n") == 1


def test_what_is_proposed_can_be_read() -> None:
    check_words(["T=2", "--multirun", "+a.b=[1,2]", "~c", 'dataset.root="/data (1)"', "source='größe.jpg'"])


def test_words_that_are_no_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    check_words(["--config-name", "train", "--info", "all", "-c", "job"])
    with pytest.raises(SystemExit):
        check_words(["source=a.jpg", "b.jpg"])
    assert capsys.readouterr().err.startswith("error: b.jpg: expected KEY=VALUE. If the shell made several words")


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


def test_a_group_has_no_null(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check_words(["convert=null"])
    assert (
        "convert=null: expected an option of this group: delayed, none, plain, radix, signed, ternary"
        in capsys.readouterr().err
    )
    check_words(["weights=null", "convert=none"])
