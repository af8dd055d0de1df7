"""Colours of signs, only where there are colours."""

from __future__ import annotations

import pytest

from wfe.host.cli.painting import painted


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("✔ a  1s", "\x1b[32m\x1b[1m✔\x1b[0m a  1s"),
        ("  ✖ a", "  \x1b[31m\x1b[1m✖\x1b[0m a"),
        ("├─ ▶ a", "\x1b[2m├─ \x1b[0m\x1b[36m\x1b[1m▶\x1b[0m a"),
        ("└─ ○ a", "\x1b[2m└─ ○ a\x1b[0m"),
        ("run  x", "run  x"),
        ("✔x", "✔x"),
        ("", ""),
        ("\x1b[2J✔ a", "\x1b[32m\x1b[1m✔\x1b[0m a"),
    ],
)
def test_a_terminal(line: str, shown: str) -> None:
    assert painted(line) == shown


@pytest.mark.usefixtures("terminal")
def test_a_terminal_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert painted("✔ \x1b[1ma") == "✔ a"


def test_a_pipe() -> None:
    assert painted("✔ \x1b[1ma") == "✔ \x1b[1ma"
