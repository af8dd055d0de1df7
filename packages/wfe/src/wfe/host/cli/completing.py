"""Completes words of options: a thin front, so that nothing is imported before a shell asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

__all__ = ["completed_by"]


def completed_by(function: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return a ``shell_complete`` that calls *function* of :mod:`wfe.host.cli.completion`."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Any:
        from wfe.host.cli import completion  # noqa: PLC0415 - only for a shell that asks

        return getattr(completion, function)(ctx, incomplete)

    return complete
