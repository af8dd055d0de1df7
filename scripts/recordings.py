"""Record docs/images: real runs of ``wfe`` in a pseudo-terminal, as text and SVG (needs pyte)."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from workspace import ROOT

__all__ = ["Scene", "main", "record"]

IMAGES: Final = ROOT / "docs" / "images"
FILES: Final = ROOT / "scripts" / "recorded"
WIDTH: Final = 104
DIM: Final = "7d8590"

THEME: Final = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (240, 246, 252),
    ],
)


@attrs.frozen(kw_only=True)
class Scene:
    """A command to record.

    Attributes:
        name: Of the files in docs/images.
        command: As a user types it.
        until: The first screen that has this text is taken; ``None``: the last one.
        before: What happens in the folder first.
        height: Lines of the terminal.
    """

    name: str
    command: str
    until: str | None = None
    before: Callable[[Path], None] | None = None
    height: int = 60


def _license(folder: Path) -> None:
    (folder / "LICENSE").touch()


SCENES: Final = (
    Scene(name="live", command="wfe run pipeline.yaml", until="240 tests", height=24),
    Scene(name="failing", command="wfe run pipeline.yaml"),
    Scene(
        name="resume",
        command="wfe run pipeline.yaml --resume last --rerun-failed",
        before=_license,
    ),
    Scene(name="explain", command="wfe explain last package"),
    Scene(name="matrix", command="wfe run matrix.yaml"),
    Scene(name="validate", command="wfe validate mistakes.yaml"),
)


class _Terminal(pyte.Screen):
    """A screen that also knows faint text, which pyte passes over."""

    def select_graphic_rendition(self, *attributes: int, **options: Any) -> None:
        super().select_graphic_rendition(*attributes, **options)
        if 2 in attributes and self.cursor.attrs.fg == "default":
            self.cursor.attrs = self.cursor.attrs._replace(fg=DIM)


def record(scene: Scene, folder: Path) -> list[Text]:
    """Run the command of a scene in a terminal and return the lines of its screen."""
    if scene.before is not None:
        scene.before(folder)
    screen = _Terminal(WIDTH, scene.height)
    stream = pyte.ByteStream(screen)
    for chunk in _written(scene, folder):
        stream.feed(chunk)
        if scene.until is not None and any(scene.until in line for line in screen.display):
            break
    lines = [_line(screen, number) for number in range(scene.height)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def _written(scene: Scene, folder: Path) -> Iterator[bytes]:
    program, *arguments = scene.command.split()
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", scene.height, WIDTH, 0, 0))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("WFE_")}
    env = {**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("NO_COLOR", "COLUMNS", "LINES", "GITHUB_ACTIONS"):
        env.pop(name, None)
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        try:
            while chunk := os.read(master, 4096):
                yield chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(master)
            if process.poll() is None:
                process.terminate()


def _line(screen: pyte.Screen, number: int) -> Text:
    text = Text()
    for column in range(screen.columns):
        cell = screen.buffer[number][column]
        text.append(cell.data, _style(cell))
    text.rstrip()
    return text


def _style(cell: Any) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    known = {"brown": "yellow", "brightbrown": "bright_yellow"}
    return known.get(name, name.replace("bright", "bright_"))


def draw(scene: Scene, lines: list[Text]) -> None:
    """Write a screen as SVG and as text."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "green"), (scene.command, "bold")))
    for line in lines:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title="wfe", unique_id=f"wfe-{scene.name}", theme=THEME)
    # No font from elsewhere: a picture in a README must not call anybody.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    fonts = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono"
    svg = re.sub(r"Fira Code", fonts, svg)
    svg = "\n".join(line.rstrip() for line in svg.split("\n"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / f"{scene.name}.svg").write_text(svg, encoding="utf-8")
    shown = "\n".join([f"$ {scene.command}", *(line.plain for line in lines)])
    (IMAGES / f"{scene.name}.txt").write_text(f"{shown}\n", encoding="utf-8")


def main(wanted: list[str]) -> int:
    """Record the scenes of these names, all without one; they build upon each other."""
    with tempfile.TemporaryDirectory() as name:
        for scene in SCENES:
            # A run that is cut off in the middle stays in a folder of its own.
            folder = Path(name) / ("cut" if scene.until is not None else "whole")
            if not folder.exists():
                shutil.copytree(FILES, folder)
            lines = record(scene, folder)
            if not wanted or scene.name in wanted:
                draw(scene, lines)
                print(f"recorded {scene.name}: {len(lines)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
