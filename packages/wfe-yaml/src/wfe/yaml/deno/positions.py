"""Say where in the workflow file a line of a script stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from wfe.core.lean import frozen

__all__ = ["Positions"]

_FRAME: Final = re.compile(r"\s*at (?P<place>.*)")
_DEEPEST: Final = 10  # places of a trace that are kept


@frozen(kw_only=True)
class Positions:
    """Turns places in the file that Deno ran into places in the file that was written.

    Attributes:
        url: Of the script that Deno ran.
        name: What messages call it.
        line: Of its first character, from 1.
        column: Of its first character, from 1.
        hidden: URLs of ours, which stand in no message.
        workspace: Shown paths are relative to it.
    """

    url: str
    name: str
    line: int = 1
    column: int = 1
    hidden: tuple[str, ...] = ()
    workspace: Path | None = None

    @classmethod
    def of(
        cls,
        url: str,
        origin: Mapping[str, Any] | None,
        *,
        name: str = "script",
        hidden: tuple[str, ...] = (),
        workspace: Path | None = None,
    ) -> Positions:
        """Make it from the place where a workflow file has the code, ``None``: it has none."""
        if origin is None:
            return cls(url=url, name=name, hidden=hidden, workspace=workspace)
        return cls(
            url=url,
            name=origin["file"],
            line=origin["line"],
            column=origin["column"],
            hidden=hidden,
            workspace=workspace,
        )

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return line and column in the written file; a block's lines are all indented alike."""
        return self.line + line - 1, self.column + column - 1

    def rewrite(self, text: str) -> str:
        """Return *text* with every place in the script as a place in the written file."""
        if self.url not in text and "file://" not in text:
            return text
        pattern = rf"{re.escape(self.url)}(?::(\d+)(?::(\d+))?)?"
        text = re.sub(pattern, self._replaced, text)
        if self.workspace is not None:
            text = text.replace(f"{self.workspace.as_uri()}/", "")
        return text

    def _replaced(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return self.name
        line, column = self.place(int(found[1]), int(found[2] or 1))
        return f"{self.name}:{line}" + (f":{column}" if found[2] else "")

    def is_own(self, line: str) -> bool:
        """Whether *line* is a row of a stack that stands in a file of ours."""
        return line.startswith("    at ") and any(url in line for url in self.hidden)

    def trace(self, stack: str) -> tuple[str, ...]:
        """Return the places of a stack, innermost first, without those of Deno and of ours."""
        return tuple(self._places(stack))[:_DEEPEST]

    def _places(self, stack: str) -> Iterator[str]:
        for row in stack.splitlines():
            found = _FRAME.fullmatch(row)
            if found is None:
                continue
            place = found["place"].removeprefix("async ")
            if "ext:" in place or "(<anonymous>)" in place or any(u in place for u in self.hidden):
                continue
            if "://" in place or "node:" in place:
                yield self.rewrite(place)
