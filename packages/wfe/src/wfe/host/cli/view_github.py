"""Lines for a job of GitHub Actions: groups that fold, and annotations where they belong."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TextIO, TypeAlias

import attrs

from wfe.core.lean import define
from wfe.core.models import LifecycleEvent
from wfe.host.cli import github
from wfe.host.cli.cleaning import clean, clean_block
from wfe.host.cli.model import Change, Picture, Times
from wfe.host.cli.output import Output
from wfe.host.cli.places import Places
from wfe.host.cli.result import Result
from wfe.host.cli.tails import Notice, notice_of
from wfe.host.cli.view_plain import headline, line_of
from wfe.host.cli.visits import OVER, State

__all__ = ["GithubView"]

_HELD: Final = 5000  # lines of one step that are held back; then they are written
_Key: TypeAlias = tuple[str, int]
_QUIET: Final = frozenset({"progress", "endgroup", "summary"})


@define
class GithubView:
    """Writes each step's output as a group of its own.

    A step that runs alone is shown line by line; the output of steps that run at the same time is
    held back until each ends.  No line of a step can be taken for a command to the runner.
    """

    _stream: TextIO
    _summary: str | None = attrs.field(factory=lambda: os.environ.get("GITHUB_STEP_SUMMARY"))
    _token: str = attrs.field(factory=lambda: secrets.token_hex(16))
    _out: Output = attrs.field(
        default=attrs.Factory(lambda self: Output(self._stream), takes_self=True), init=False
    )
    _places: Places = attrs.field(factory=Places)
    _times: Times = attrs.field(factory=Times, init=False)
    _held: dict[_Key, list[str]] = attrs.field(factory=dict[_Key, list[str]], init=False)
    _running: dict[_Key, str] = attrs.field(factory=dict[_Key, str], init=False)
    _open: _Key | None = attrs.field(default=None, init=False)

    def begin(self, picture: Picture) -> None:
        """Name the run."""
        self._times = picture.times
        self._say(headline(picture))

    def tell(self, event: LifecycleEvent, change: Change) -> None:
        """Write what an event has to say, or hold it back until its step ends."""
        visit = change.visit
        if visit is None:
            self._say(line_of(event, change))
            return
        key = (change.run.id, visit.pointer)
        if event.kind == "log":
            self._log(key, event, change)
            return
        silent = self._places.silent(event, change)
        if event.kind == "step_started":
            self._running[key] = change.path
        elif visit.state in OVER or visit.state in {State.RETRYING, State.INTERRUPTED}:
            self._running.pop(key, None)
            self._flush(key, change.path)
        if not silent:
            self._say(line_of(event, change, self._times))
        if event.kind == "step_failed" and visit.child is None and not _contains(change):
            notice = Notice(path=change.path, level="error", message=clean(visit.note))
            self._command(github.annotation(notice))

    def _log(self, key: _Key, event: LifecycleEvent, change: Change) -> None:
        data = event.data or {}
        line, stream = str(data.get("line", "")), data.get("stream")
        if stream == "annotation":
            found = notice_of(change.path, clean(line))
            self._command(github.annotation(found))
        elif stream not in _QUIET:
            self._line(key, f"▾ {line}" if stream == "group" else line, change.path)

    def _line(self, key: _Key, line: str, path: str) -> None:
        alone = len(self._running) <= 1 and not self._held
        if self._open == key or (self._open is None and alone):
            if self._open is None:
                self._begin_group(path)
                self._open = key
            self._out.line(clean(line))
            return
        held = self._held.setdefault(key, [])
        held.append(line)
        if len(held) >= _HELD:
            self._flush(key, path)

    def _begin_group(self, title: str) -> None:
        self._out.line(github.group(clean(title)))
        self._out.line(f"::stop-commands::{self._token}")

    def _end_group(self) -> None:
        self._out.line(f"::{self._token}::")
        self._out.line("::endgroup::")

    def _close_open(self) -> None:
        if self._open is not None:
            self._end_group()
            self._open = None

    def _flush(self, key: _Key, path: str) -> None:
        """Write what was held back of a step."""
        if self._open == key:
            self._close_open()
        lines = self._held.pop(key, None)
        if lines:
            self._close_open()
            self._begin_group(path)
            self._lines(lines)
            self._end_group()

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._out.line(clean(line))

    def _say(self, line: str | None) -> None:
        """Write a line of our own, in which a step's name or error may not hide a command."""
        if line is not None:
            self._close_open()
            self._out.line(clean(line).replace("##[", "#\u200b#["))

    def _command(self, command: str) -> None:
        self._close_open()
        self._out.line(command)

    def tick(self) -> None:
        """Tell what has waited a while; lines do not move."""
        self._tell_waiting()

    def _tell_waiting(self, *, at_once: bool = False) -> None:
        for event, change in self._places.waiting(at_once=at_once):
            self._say(line_of(event, change, self._times))

    def close(self) -> None:
        """Write what is still held back."""
        self._tell_waiting(at_once=True)
        for key in list(self._held):
            self._flush(key, self._running.get(key, "output"))
        self._close_open()

    def finish(self, result: Result) -> None:
        """Write the summary, and the steps' summaries where the job shows them."""
        self.close()
        for line in result.summary():
            self._say(line)
        if self._summary and result.picture.summaries:
            _append(Path(self._summary), result)


def _contains(change: Change) -> bool:
    return (
        change.step is not None and change.step.node is not None and bool(change.step.node.blocks)
    )


def _append(path: Path, result: Result) -> None:
    parts = [
        f"## {clean(name)}\n\n{clean_block(text)}\n" for name, text in result.picture.summaries
    ]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(parts) + "\n")
    except OSError as error:
        from wfe.host.cli.errors import warn  # noqa: PLC0415 - only for a problem

        warn(f"the summary of the job cannot be written: {error.strerror}")
