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
from wfe.host.cli.drawing import GLYPHS, STATUS_GLYPHS, Line, duration, fitted, tree
from wfe.host.cli.model import Change, Picture
from wfe.host.cli.result import Result, now_utc
from wfe.host.cli.visits import State

__all__ = ["LiveView"]

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TAIL: Final = 4  # last lines shown of each step that runs
_CONTROL: Final = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?|[\x00-\x1f\x7f]"
)

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
        lines = fitted(tree(self._picture, now, _TAIL), max(self._console.height - 2, 4))
        drawn = [self._head(self._picture, now), *(self._line(line) for line in lines)]
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
            for line in tree(self._picture, result.now):
                self._console.print(self._line(line), soft_wrap=True)
        first, *rest = result.summary()
        style = _STATUS_STYLES.get(result.instance.status, "bold")
        self._console.print(Text(_clean(first), style=style), soft_wrap=True)
        for each in rest:
            self._console.print(Text(_clean(each)), soft_wrap=True)

    def _head(self, picture: Picture, now: datetime) -> Text:
        root = picture.root
        name = root.definition.id if root.definition is not None else "workflow"
        text = Text(no_wrap=True, overflow="ellipsis")
        glyph = (
            self._frame if root.status is WorkflowStatus.RUNNABLE else STATUS_GLYPHS[root.status]
        )
        text.append(f"{glyph} {name}", style="bold")
        text.append(f"  run {root.id}", style="dim")
        if root.started is not None:
            text.append(f"  {duration(((root.ended or now) - root.started).total_seconds())}")
        return text

    def _line(self, line: Line) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(line.guides, style="dim")
        if line.output:
            text.append("│ ", style="dim cyan")
            return text.append(_clean(line.text), style="dim")
        if line.state is None:
            return text.append(_clean(line.text), style="italic dim")
        style = _STYLES[line.state]
        glyph = self._frame if self._live and line.state is State.RUNNING else GLYPHS[line.state]
        text.append(f"{glyph} ", style=style)
        text.append(_clean(line.text), style="dim" if line.state is State.PENDING else "")
        if line.seconds is not None:
            text.append(f"  {duration(line.seconds)}", style="dim")
        if line.note:
            text.append(f"  {_clean(line.note)}", style=style)
        return text


def _clean(text: str) -> str:
    """Return *text* without what would move a terminal's cursor or change its colours."""
    return _CONTROL.sub("", text.replace("\t", "    "))
