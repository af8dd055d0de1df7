"""Searching runs and log lines: the records, the index that answers, the feed that it is made of.

Texts are compared by words that the engine itself made (``wfe.core.search_text``), so that every
index finds the same.  Times are µs since 1970, UTC.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import orjson

from wfe.core.errors import DataTypeError
from wfe.core.lean import frozen
from wfe.core.records import StoreInfo
from wfe.core.side_records import LogRow

__all__ = [
    "Changed",
    "Changes",
    "ChangesProvider",
    "Gone",
    "LogChanges",
    "LogDocument",
    "LogHit",
    "LogPage",
    "LoggedLine",
    "Order",
    "SearchDocument",
    "SearchHit",
    "SearchPage",
    "SearchProvider",
    "SearchQuery",
    "Term",
    "position_in",
    "position_text",
]

Order: TypeAlias = Literal["newest", "oldest", "relevance"]


@frozen(kw_only=True)
class SearchDocument:
    """What an index knows of a run.

    Attributes:
        rev: Grows with each change of the run; an index keeps the highest it was given.
        name: As it is shown.
        error: Type and message of the error, ``None``: none.
        fields: (path, text) of scalar leaves of the data; a path may occur many times.
        text: Words (see ``wfe.core.search_text.words``) with one space between, to be found by; a
            word of the one character U+E000 ends a part, so that no phrase goes over its end.
    """

    n: int
    rev: int
    id: str
    definition: str
    version: int
    name: str
    reference: str | None
    status: str
    created_at: int
    completed_at: int | None
    parent_id: str | None
    root_id: str
    error: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    text: str = ""


@frozen(kw_only=True)
class LogDocument:
    """What an index knows of a line that a step wrote.

    Attributes:
        l: Position of the line in the store; a line with the same one is the same line.
        id: Of its run.
        text: The words of the line, with one space between.
    """

    l: int  # noqa: E741 - the column's name
    n: int
    id: str
    definition: str
    at: int
    step: str | None
    pointer: int | None
    stream: str
    line: str
    text: str = ""


@frozen
class Gone:
    """A run that was deleted, with all its lines; *rev* is above all that it had."""

    n: int
    rev: int
    id: str
    created_at: int


@frozen
class Changed:
    """Run *n* was made or changed: its status, its error; or it was given up to wait."""

    n: int
    rev: int


@frozen
class Changes:
    """What changed after a cursor.

    Attributes:
        changed: Each run at most once, with its latest change of this page.
        gone: As *changed*; a run is in one of the two.
        cursor: Where to go on.  Changes that are committed later come after it, always.
        more: Whether something is known to come after it.
    """

    changed: tuple[Changed, ...]
    gone: tuple[Gone, ...]
    cursor: str
    more: bool


@frozen
class LoggedLine:
    """A line with the id and the definition of its run."""

    row: LogRow
    id: str
    definition: str


@frozen
class LogChanges:
    """Lines after a cursor, in order; lines of deleted runs are left out."""

    lines: tuple[LoggedLine, ...]
    cursor: str
    more: bool


@frozen
class Term:
    """Words that must occur in this order, next to each other.

    Attributes:
        words: At least one; as ``wfe.core.search_text.words`` makes them.
        prefix: The last one need only begin so.
        exclude: What has them is not found.
    """

    words: tuple[str, ...]
    prefix: bool = False
    exclude: bool = False


@frozen(kw_only=True)
class SearchQuery:
    """What is looked for; everything given must fit.

    Attributes:
        terms: Each must occur (or not, see :class:`Term`).
        definition: Id of the definition.
        status: Of runs only.
        reference: Of runs only.
        run: Id of the run; of lines only.
        since: Made (runs: ``created_at``, lines: ``at``) at or after, µs.
        until: Made before, µs.
        fields: (path, text) that the data of a run has; of runs only.
        order: By time (runs: created_at, n; lines: at, l); or by how well the terms fit, then by
            time, newest first.  Without terms that must occur, relevance is by time.
        limit: Of the page, at least 1.
        cursor: Of the page before.
    """

    terms: tuple[Term, ...] = ()
    definition: str | None = None
    status: str | None = None
    reference: str | None = None
    run: str | None = None
    since: int | None = None
    until: int | None = None
    fields: tuple[tuple[str, str], ...] = ()
    order: Order = "newest"
    limit: int = 100
    cursor: str | None = None


@frozen
class SearchHit:
    """A run that fits; *score* is higher the better, ``None`` unless ordered by relevance."""

    n: int
    id: str
    score: float | None = None


@frozen
class LogHit:
    """A line that fits; *document* comes without its ``text``."""

    document: LogDocument
    score: float | None = None


@frozen
class SearchPage:
    """Runs that fit; *cursor* is ``None`` at the end."""

    hits: tuple[SearchHit, ...]
    cursor: str | None = None


@frozen
class LogPage:
    """Lines that fit; *cursor* is ``None`` at the end."""

    hits: tuple[LogHit, ...]
    cursor: str | None = None


@runtime_checkable
class SearchProvider(Protocol):
    """An index: a projection of a store that can be thrown away and made anew.

    Feature ``search`` of a persistence provider that is its own index.  All methods raise
    :class:`~wfe.core.errors.ProviderError` when the backend fails.
    """

    async def open(self) -> StoreInfo:
        """Connect, check or make what is needed; idempotent."""
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        """Take over runs and where the feed stands.

        Idempotent and in any order: a run keeps the document of its highest rev; one that is gone
        stays gone whatever comes later with a lower rev, and its lines are gone too.  Of the same
        rev the later document counts.  The cursor is stored after all the rest, or with it.  What
        was applied is found by a search that begins after this returned.
        """
        ...

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        """Take over lines and where their feed stands; a known line is replaced by itself."""
        ...

    async def search_cursors(self) -> tuple[str | None, str | None]:
        """Return where the feeds of runs and of lines stand; ``None``: at the beginning."""
        ...

    async def search_runs(self, query: SearchQuery) -> SearchPage:
        """Return the runs that fit.

        Raises:
            DataTypeError: The cursor is none of this method.
        """
        ...

    async def search_logs(self, query: SearchQuery) -> LogPage:
        """Return the lines that fit.

        Raises:
            DataTypeError: The cursor is none of this method.
        """
        ...

    async def search_clear(self) -> None:
        """Forget everything, the cursors too; the store's runs are not touched."""
        ...


@runtime_checkable
class ChangesProvider(Protocol):
    """A store that says what changed: feature ``changes``.

    Nothing is missed, whoever reads and however late the changes are committed; something may
    come twice.  With ``None`` a feed begins with everything that is there.
    """

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        """Return up to *limit* runs that were made, changed or deleted after *cursor*."""
        ...

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        """Return up to *limit* lines that were written after *cursor*."""
        ...


def position_text(position: Sequence[int | float | str]) -> str:
    """Return a position in a list as the text of a cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode()


def position_in(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """Return the position in a cursor that :func:`position_text` made.

    Args:
        cursor: As it came from a caller.
        kinds: Types of its parts.

    Raises:
        DataTypeError: It is none.
    """
    found: object = None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, TypeError, binascii.Error) as error:
        raise _no_cursor(cursor) from error
    parts = list(cast("Iterable[Any]", found)) if isinstance(found, list) else []
    if len(parts) != len(kinds) or not all(map(isinstance, parts, kinds)):
        raise _no_cursor(cursor)
    return parts


def _no_cursor(cursor: str) -> DataTypeError:
    return DataTypeError("cursor", f"{cursor!r} is not a cursor that this search returned")
