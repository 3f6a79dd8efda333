from __future__ import annotations

from pathlib import Path

import pytest

from emsyolo.text import read_text

WORDS = "Größe 大きさ\n2\n"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(tmp_path: Path, codec: str) -> None:
    (tmp_path / "a.txt").write_bytes(WORDS.encode(codec))
    assert read_text(tmp_path / "a.txt") == WORDS
    assert read_text(tmp_path / "a.txt", "utf-8") == WORDS


def test_lines_of_windows_and_of_old_macs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "a.txt") == "a\nb\nc\n"


def test_another_encoding_has_to_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("ab Größe".encode("cp1252"))
    with pytest.raises(ValueError, match=r"a\.txt: not utf-8 text at byte 5; .*dataset\.encoding=cp1252"):
        read_text(tmp_path / "a.txt")
    assert read_text(tmp_path / "a.txt", "cp1252") == "ab Größe"
    with pytest.raises(ValueError, match=r"dataset\.encoding=klingon: unknown"):
        read_text(tmp_path / "a.txt", "klingon")


def test_utf_16_without_its_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("0 0.5".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"a\.txt: a NUL at byte 1"):
        read_text(tmp_path / "a.txt")
