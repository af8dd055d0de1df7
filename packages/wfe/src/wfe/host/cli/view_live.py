"""A tree that moves: what a terminal gets."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from wfe.core.models import LifecycleEvent, WorkflowStatus
from wfe.host.cli.cleaning import clean, clean_block
from wfe.host.cli.drawing import GLYPHS, STATUS_GLYPHS, Line, duration, tree
from wfe.host.cli.figures import share, tally, time_left
from wfe.host.cli.fitting import fitted
from wfe.host.cli.model import Change, Picture
from wfe.host.cli.result import Result, now_utc
from wfe.host.cli.visits import State

__all__ = ["LiveView"]

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TAIL: Final = 4  # last lines shown of each step that runs
_ROOMY: Final = 16  # lines of a terminal that has room for them
_TINY: Final = 8  # lines of a terminal that has no room for the bar
_WIDE: Final = 76  # columns of a terminal that has room for the run's id
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(\S.*?)[ \t]*#*[ \t]*")
_MARKS: Final[Mapping[str, str]] = {"✖": "red", "!": "yellow", "•": "cyan", "│": "dim"}
_STYLES: Final[Mapping[State, str]] = {
    State.PENDING: "dim",
    State.RUNNING: "bold cyan",
    State.RETRYING: "yellow",
    State.SLEEPING: "blue",
    State.WAITING: "magenta",
    State.COMPLETE: "green",
    State.SKIPPED: "dim",
    State.FAILED: "bold red",
    State.CANCELLED: "dim yellow",
    State.INTERRUPTED: "yellow",
}

_STATUS_STYLES: Final[Mapping[WorkflowStatus, str]] = {
    WorkflowStatus.COMPLETE: "bold green",
    WorkflowStatus.FAILED: "bold red",
    WorkflowStatus.TERMINATED: "bold yellow",
}


class LiveView:
    """Redraws the tree in place, and leaves it on the screen with a summary."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw on *console*, by default on stdout."""
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._picture: Picture | None = None
        self._frames = itertools.cycle(_SPINNER)
        self._frame = _SPINNER[0]

    def begin(self, picture: Picture) -> None:
        """Draw the tree with everything pending."""
        self._picture = picture
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        self._live.start()
        self.tick()

    def tell(self, event: LifecycleEvent, change: Change) -> None:
        """Events are in the picture; the next tick draws it."""

    def tick(self) -> None:
        """Draw the tree as it is now."""
        if self._live is None or self._picture is None:
            return
        self._frame = next(self._frames)
        now = now_utc()
        height, width = self._console.size.height, self._console.size.width
        lines = fitted(
            tree(self._picture, now, _TAIL if height >= _ROOMY else 1), max(height - 3, 1)
        )
        drawn = [self._head(self._picture, now, width), *(self._line(line) for line in lines)]
        if height > _TINY:
            drawn.append(self._bar(self._picture, now, width))
        self._live.update(Group(*drawn), refresh=True)

    def close(self) -> None:
        """Stop drawing and give the cursor back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def finish(self, result: Result) -> None:
        """Leave the whole tree and the summary on the screen."""
        self.close()
        if self._picture is not None:
            picture, width = self._picture, self._console.size.width
            self._console.print(self._head(picture, result.now, width))
            for line in tree(picture, result.now):
                self._console.print(self._line(line))
            self._console.print()
        self._reports(result)
        first, *rest = result.summary()
        style = _STATUS_STYLES.get(result.instance.status, "bold")
        self._console.print(Text(clean(first), style=style))
        for each in rest:
            self._console.print(_told(clean(each)), soft_wrap=True)

    def _reports(self, result: Result) -> None:
        """Show what the steps wrote about themselves."""
        if not result.picture.summaries:
            return
        from rich.markdown import Markdown  # noqa: PLC0415 - slow to import
        from rich.segment import Segment, Segments  # noqa: PLC0415 - with it

        options = self._console.options.update(width=max(self._console.size.width - 2, 10))
        for path, text in result.picture.summaries:
            self._console.print(Text(f"▸ {clean(path)}", style="bold"), soft_wrap=True)
            shown = Markdown(_headed(clean_block(text)), hyperlinks=False)
            blank = True
            for line in self._console.render_lines(shown, options, pad=False):
                was, blank = blank, not any(segment.text.strip() for segment in line)
                if not (was and blank):
                    row = Segments([Segment("  "), *line, Segment.line()])
                    self._console.print(row, end="")
            if not blank:
                self._console.print()

    def _head(self, picture: Picture, now: datetime, width: int) -> Text:
        root = picture.root
        name = root.definition.id if root.definition is not None else "workflow"
        text = Text(no_wrap=True, overflow="ellipsis")
        glyph = (
            self._frame if root.status is WorkflowStatus.RUNNABLE else STATUS_GLYPHS[root.status]
        )
        text.append(f"{glyph} {clean(name)}", style="bold")
        if root.started is not None:
            text.append(f"  {duration(((root.ended or now) - root.started).total_seconds())}")
        if width >= _WIDE:
            text.append(f"  run {root.id}", style="dim")
        return text

    def _bar(self, picture: Picture, now: datetime, width: int) -> Text:
        """Draw how far the run is, by last time's duration or by its steps."""
        cells = max(min(width // 3, 30), 6)
        done = round(share(picture, now) * cells)
        count = tally(picture)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("━" * done, style="cyan")
        text.append("━" * (cells - done), style="dim")
        text.append(f"  {count.over}/{count.total} steps", style="dim")
        left = time_left(picture, now)
        if left is not None:
            text.append(f"  about {duration(left)} left", style="dim")
        return text

    def _line(self, line: Line) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(line.guides, style="dim")
        if line.output:
            text.append("│ ", style="dim cyan")
            return text.append(clean(line.text), style="dim")
        if line.state is None:
            return text.append(clean(line.text), style="italic dim")
        style = _STYLES[line.state]
        glyph = self._frame if self._live and line.state is State.RUNNING else GLYPHS[line.state]
        text.append(f"{glyph} ", style=style)
        text.append(clean(line.text), style="dim" if line.state is State.PENDING else "")
        if line.seconds is not None:
            text.append(f"  {duration(line.seconds)}", style="dim")
            text.append(line.last, style="dim")
        if line.note:
            text.append(f"  {clean(line.note)}", style=style)
        return text


def _told(line: str) -> Text:
    """Return a line of the summary with its mark in colour and commands to copy standing out."""
    text = Text(line)
    mark = line.strip()[:1]
    if mark in _MARKS:
        at = line.index(mark)
        text.stylize(_MARKS[mark], at, len(line) if mark == "│" else at + 1)
    command = line.find(" wfe ")
    if command >= 0 and ":" in line[:command]:
        text.stylize("bold cyan", command + 1)
    return text


def _headed(text: str) -> str:
    """Return Markdown with bold lines for headings, which rich would put in the middle."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = line.lstrip()[:3]
        if mark in {"```", "~~~"} and fence in {"", mark}:
            fence = "" if fence else mark
        heading = None if fence else _HEADING.fullmatch(line)
        lines += [line] if heading is None else ["", f"**{heading[1]}**", ""]
    return "\n".join(lines)
