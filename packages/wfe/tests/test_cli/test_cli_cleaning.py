"""Hostile text never reaches a terminal as it is."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.host.cli.cleaning import clean, clean_block, plain_symbols


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colour"),
        pytest.param("a\x1b[2J\x1b[Hb", "ab", id="clear-screen"),
        pytest.param("\x1b]0;owned\x07x", "x", id="window-title"),
        pytest.param("\x1b]52;c;ZXZpbA==\x1b\\x", "x", id="clipboard"),
        pytest.param("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click", id="link"),
        pytest.param("\x1bP+q544e\x1b\\x", "x", id="device-control"),
        pytest.param("\x1b]0;never ends", "", id="unfinished-string"),
        pytest.param("\x1b[31", "", id="unfinished-sequence"),
        pytest.param("x\x1b", "x", id="escape-at-the-end"),
        pytest.param("\x9b31mred", "red", id="8-bit-csi"),
        pytest.param("\x9d0;t\x9cx", "x", id="8-bit-osc"),
        pytest.param("a\x08\x08b\x00c\x7f", "abc", id="controls"),
        pytest.param("a\u202eb\u2066c\u200fd", "abcd", id="direction"),
        pytest.param("a\nb\x0bc\u2028d", "a b c d", id="line-breaks"),
        pytest.param("10%\r50%\r100%\r", "100%", id="progress"),
        pytest.param("a\tb", "a    b", id="tab"),
        pytest.param("größe ✔ 大", "größe ✔ 大", id="letters-stay"),
        pytest.param("\ud800", "?", id="half-a-character"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_what_is_clean_has_no_control_characters_and_is_one_line(text: str) -> None:
    shown = clean(text)

    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert len(shown.splitlines()) <= 1
    assert clean(shown) == shown


def test_a_block_keeps_its_lines() -> None:
    assert clean_block("a\x1b[1m\nb\tc") == "a\nb    c"


@pytest.mark.parametrize(
    ("encoding", "ascii_only", "written"),
    [
        pytest.param("ascii", None, "+ ? a", id="ascii"),
        pytest.param("latin-1", None, "+ \xe4 a", id="latin-1"),
        pytest.param("utf-8", None, "✔ ä a", id="utf-8"),
        pytest.param("utf-8", "1", "+ ? a", id="wanted"),
    ],
)
def test_signs_that_an_encoding_lacks_have_stand_ins(
    monkeypatch: pytest.MonkeyPatch, encoding: str, ascii_only: str | None, written: str
) -> None:
    monkeypatch.delenv("WFE_ASCII", raising=False)
    if ascii_only is not None:
        monkeypatch.setenv("WFE_ASCII", ascii_only)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)

    plain_symbols(stream)
    stream.write("✔ ä a")
    stream.flush()

    assert raw.getvalue().decode(stream.encoding) == written


def test_streams_that_are_no_files_are_passed_over() -> None:
    stream = io.StringIO()

    plain_symbols(stream)

    assert stream.write("✔") == 1


def test_the_program_works_where_there_is_no_unicode(tmp_path: object) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "wfe", "run", "--help"],
        env=env,
        capture_output=True,
        check=True,
        cwd=str(tmp_path),
    )

    assert done.stdout.isascii()
