"""What a store implements whose transactions a step's body can share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from wfe.core.errors import ProviderError, TransactionError
from wfe.core.records import Item, Outcome

__all__ = ["StepTransaction", "Transaction", "TransactionProvider", "errors_in"]


class StepTransaction(Protocol):
    """What ``ctx.transaction()`` returns: ``async with`` in async bodies, ``with`` in sync ones."""

    @property
    def connection(self) -> Any:
        """The driver's own connection, inside the transaction.

        Of a SQLite file a ``sqlite3.Connection``; of PostgreSQL a psycopg ``AsyncConnection``, in
        sync bodies a ``Connection``.  It refuses to commit, to roll back and to be closed;
        savepoints are allowed.
        """
        ...

    async def __aenter__(self) -> Self:
        """Open the transaction."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Roll it back if the block failed; else it is committed with the step's completion."""
        ...

    def __enter__(self) -> Self:
        """Open the transaction."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Roll it back if the block failed; else it is committed with the step's completion."""
        ...


class Transaction(Protocol):
    """A transaction of the store that is open for somebody else's statements."""

    @property
    def connection(self) -> Any:
        """The driver's own connection, inside the transaction.

        It refuses what would end the transaction, and everything once it has ended.
        """
        ...

    @property
    def problem(self) -> TransactionError | None:
        """Why the store ended it already; ``None``: it did not."""
        ...

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        """Return the store's failure that ended what the body did; ``None``: there was none.

        Its connection was lost, or there is no more room: the same body may succeed later, so the
        step runs again.  What the database has to say about the statements themselves (a
        constraint, another transaction in the way) is the body's own failure.

        Args:
            error: What left the body, maybe caused by the driver's error; ``None``: nothing that
                is known.
        """
        ...

    async def commit(self, item: Item) -> Outcome:
        """Apply *item* in the transaction and commit both, or neither.

        Anything but ``Done``: it was rolled back.  Called once, from the event loop, when nobody
        uses the connection any more; whoever does it all the same is refused.

        Args:
            item: Rows of one instance that the epoch owns, with ``alive``, and nothing else.

        Raises:
            TransactionError: What was done in it cannot be committed; it was rolled back.
            ProviderError: The store failed.  ``unknown``: it may be committed all the same; else
                it was rolled back, and a repetition of all of it may succeed.
            Exception: The driver's own, when the database refused at the commit what was done
                (a deferred constraint); it was rolled back.
        """
        ...


@runtime_checkable
class TransactionProvider(Protocol):
    """A store whose transactions bodies of steps can share: feature ``transaction``."""

    @property
    def exclusive_transactions(self) -> bool:
        """Whether nobody else can write to the store while a transaction is open."""
        ...

    def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction; it is rolled back at the end of the block unless it was committed.

        Whoever uses the connection when the block ends (a thread that cannot be stopped) is
        refused from then on: nothing that it still does is ever written.

        Args:
            epoch: The worker that commits.
            lease: Of its host, µs.  A worker that stops between the item and the commit holds up
                its fence for a third of this at most, if the store can tell.
            blocking: The connection is used in a thread that may block; else in an event loop.

        Raises:
            ProviderError: The store failed, or is too busy.
        """
        ...


def errors_in(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, what it was raised from, and for groups what is in them."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
