"""What a view of a running workflow is, and which one a terminal or a pipe gets."""

from __future__ import annotations

import os
import sys
from typing import Protocol

from wfe.core.models import LifecycleEvent
from wfe.host.cli.model import Change, Picture
from wfe.host.cli.result import Result

__all__ = ["View", "chosen"]


class View(Protocol):
    """Shows a run while it is driven."""

    def begin(self, picture: Picture) -> None:
        """Show what is known before the first event."""
        ...

    def tell(self, event: LifecycleEvent, change: Change) -> None:
        """Show one event that the picture took in; never raises."""
        ...

    def tick(self) -> None:
        """Show that time passes; called several times a second."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; idempotent."""
        ...

    def finish(self, result: Result) -> None:
        """Show how it ended."""
        ...


def chosen(*, plain: bool, json: bool) -> View:
    """Return the view that was asked for; a tree only on a terminal that can move its cursor."""
    if json:
        from wfe.host.cli.view_json import JsonView  # noqa: PLC0415 - one of four

        return JsonView(sys.stdout)
    dumb = os.environ.get("TERM", "") in {"", "dumb"}
    if not plain and os.environ.get("GITHUB_ACTIONS") == "true":
        from wfe.host.cli.view_github import GithubView  # noqa: PLC0415 - one of four

        return GithubView(sys.stdout)
    if plain or dumb or not sys.stdout.isatty():
        from wfe.host.cli.view_plain import PlainView  # noqa: PLC0415 - one of four

        return PlainView(sys.stdout)
    from wfe.host.cli.view_live import LiveView  # noqa: PLC0415 - rich is slow to import

    return LiveView()
