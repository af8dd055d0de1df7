"""A connection that asks at a fraction of the driver's cost; the rest of it is the driver's.

A lone commit is all driver: a cursor, a query object, a timer and two changes of what the loop
watches, for each statement.  A :class:`Wire` sends values and gets rows by the same adapters, and
leaves the socket watched from one question to the next.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors, generators
from psycopg.abc import Buffer, PQGen
from psycopg.abc import Transformer as Values
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from wfe.core.lean import frozen

__all__ = ["Args", "Packed", "Row", "Wire", "positional"]

Row: TypeAlias = tuple[Any, ...]
Args: TypeAlias = Mapping[str, Any] | None
Packed: TypeAlias = tuple[bytes, Sequence[bytes | None]]

_MOST: Final = 200  # prepared statements of a connection
_PATIENCE: Final = 5.0  # seconds that a server may take to end what nobody waits for
_PLACE: Final = re.compile(r"%(?:\((\w+)\)s|%)")

_FINE: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

_Key: TypeAlias = tuple[bytes, tuple[int, ...]]
_Results: TypeAlias = list[PGresult]
_Answer: TypeAlias = PQGen[_Results]


@frozen(kw_only=True)
class _Given:
    """A statement, and its values as they are sent."""

    text: bytes
    values: Sequence[Buffer | None]
    types: tuple[int, ...]
    formats: Sequence[Format]

    @classmethod
    def of(cls, values: Values, sql: str, args: Args) -> _Given:
        if args is None:
            return cls(text=sql.encode(), values=(), types=(), formats=())
        text, names = positional(sql)
        dumped = values.dump_sequence([args[name] for name in names], [PyFormat.AUTO] * len(names))
        types, formats = values.types or (), values.formats or ()
        return cls(text=text, values=dumped, types=types, formats=formats)


class Wire(psycopg.AsyncConnection[Row]):
    """A connection of the driver, with :meth:`ask`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the driver gives to its connections."""
        super().__init__(*args, **kwargs)
        self.made: float = time.monotonic()  # seconds
        self._values: Values | None = None
        self._names: dict[_Key, bytes] = {}
        self._count = 0
        self._watched: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._going: tuple[_Answer, asyncio.Future[_Results]] | None = None

    async def ask(self, sql: str, args: Args = None) -> list[Row]:
        """Return the rows of a statement that is a transaction of its own.

        One question at a time, of a connection in autocommit and outside of any transaction.

        Args:
            sql: With ``%(name)s`` for values, if there are *args*.
            args: By name.

        Raises:
            psycopg.Error: Nothing was done; or the connection is lost, and nobody knows.
        """
        (rows,) = await self.ask_all([(sql, args)])
        return rows

    async def ask_all(self, questions: Sequence[tuple[str, Args]]) -> list[list[Row]]:
        """Return the rows of several statements, which go together and are one transaction."""
        if self._values is None:
            self._values = Transformer(self)
        values = self._values
        given = [_Given.of(values, sql, args) for sql, args in questions]
        results = await self._repeated(given)
        found: list[list[Row]] = []
        for result in results:
            values.set_pgresult(result)
            found.append(values.load_rows(0, result.ntuples, tuple))
        return found

    async def ask_packed(self, questions: Sequence[Packed]) -> PGresult:
        """Return the last result of statements that go together and are one transaction.

        As :meth:`ask_all`, but at what the server's library takes: ``$1`` for values, each of
        which is cast to a type, and values in the server's binary form.

        Raises:
            psycopg.Error: As :meth:`ask` does.
        """
        given = [
            _Given(text=text, values=values, types=(), formats=(Format.BINARY,) * len(values))
            for text, values in questions
        ]
        return (await self._repeated(given))[-1]

    async def wait(self, gen: PQGen[Any], *args: Any, **kwargs: Any) -> Any:
        """Wait as the driver does, which watches the socket for itself."""
        self._unwatch()
        return await super().wait(gen, *args, **kwargs)

    async def close(self) -> None:
        """Close it."""
        self._unwatch()
        self._values = None  # which knows this connection
        await super().close()

    # -- the rest -------------------------------------------------------------------------------

    async def _repeated(self, given: Sequence[_Given]) -> _Results:
        try:
            return await self._results(given)
        except errors.InvalidSqlStatementName:
            # Another's ROLLBACK makes the driver deallocate all statements, ours with its own.
            if not self._names:
                raise
            self._names.clear()
            return await self._results(given)

    async def _results(self, given: Sequence[_Given]) -> _Results:
        names, new = self._named(given)
        pgconn, count = self.pgconn, len(new) + len(given)
        if count > 1:
            pgconn.enter_pipeline_mode()
        for (text, types), name in new.items():  # with its first question: one round trip
            pgconn.send_prepare(name, text, types)
        for each, known in zip(given, names, strict=True):
            if known is not None:
                pgconn.send_query_prepared(known, each.values, each.formats, Format.BINARY)
            else:
                pgconn.send_query_params(
                    each.text, each.values, each.types or None, each.formats, Format.BINARY
                )
        if count > 1:
            pgconn.pipeline_sync()
        answer = _all_of(pgconn, count) if count > 1 else generators.execute(pgconn)
        results = await self._answered(answer)
        if new:  # these stay, whatever became of the rest
            made = zip(new.items(), results, strict=False)
            self._names.update(each for each, result in made if result.status in _FINE)
        return self._checked(results)[len(new) :]

    def _named(self, given: Sequence[_Given]) -> tuple[list[bytes | None], dict[_Key, bytes]]:
        """Return the names of prepared statements, and those that are to be prepared.

        ``None`` in place of a name: none is, or there are too many.
        """
        names: list[bytes | None] = []
        new: dict[_Key, bytes] = {}
        if self.prepare_threshold is None:
            return [None] * len(given), new
        for each in given:
            key = (each.text, each.types)
            name = self._names.get(key) or new.get(key)
            if name is None and len(self._names) + len(new) < _MOST:
                self._count += 1
                name = new[key] = b"wfe_%d" % self._count
            names.append(name)
        return names, new

    def _checked(self, results: _Results) -> _Results:
        for result in results:
            if result.status not in _FINE:
                self._unwatch()  # libpq closes its socket when these were the server's last words
                raise errors.error_from_result(result, encoding="utf-8")
        return results

    async def _answered(self, answer: _Answer) -> _Results:
        """Go through *answer*, which reads what the server says to what was just sent."""
        try:
            wanted = next(answer)
        except StopIteration as done:
            results: _Results = done.value
            return results
        if wanted != Wait.R:  # it is too much to be sent at once
            left: _Results = await self.wait(_rest(answer, wanted))
            return left
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Results] = loop.create_future()
        self._going = (answer, waiter)
        if self._watched is None:
            self._watched = (loop, self.pgconn.socket)
            loop.add_reader(self.pgconn.socket, self._read)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # nobody else asks for it
            await self._end(answer)
            raise
        finally:
            self._going = None

    def _read(self) -> None:
        """Go on with the answer, as there is something to read."""
        if self._going is None or self._going[1].done():
            self._unwatch()  # what came unasked is for who asks next
            return
        answer, waiter = self._going
        try:
            answer.send(Ready.R)
        except StopIteration as done:
            waiter.set_result(done.value)
        except Exception as error:  # noqa: BLE001 - for who waits
            self._unwatch()  # libpq has closed its socket
            waiter.set_exception(error)

    def _unwatch(self) -> None:
        if self._watched is not None:
            loop, socket = self._watched
            self._watched = None
            loop.remove_reader(socket)

    async def _end(self, answer: _Answer) -> None:
        """Have the server end what nobody waits for, so that the connection is of use again."""
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.cancel_safe(timeout=_PATIENCE)
                await self.wait(_rest(answer, Wait.R))
        except (psycopg.Error, OSError, TimeoutError, asyncio.CancelledError):
            self._unwatch()
            self.pgconn.finish()


def _all_of(pgconn: PGconn, count: int) -> _Answer:
    """Read the answers to *count* statements that went together, each of one result."""
    yield from generators.send(pgconn)
    results: _Results = []
    for _ in range(count):
        results += yield from generators.fetch_many(pgconn)
    yield from generators.fetch_many(pgconn)  # that these were all
    pgconn.exit_pipeline_mode()
    return results


def _rest(answer: _Answer, wanted: Wait) -> _Answer:
    """Go on with *answer*, which has said what it waits for."""
    try:
        while True:
            wanted = answer.send((yield wanted))
    except StopIteration as done:
        results: _Results = done.value
        return results


@lru_cache(maxsize=1024)
def positional(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """Return *sql*, as the server takes it, with ``$1`` for names, and the names in their order."""
    places: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        name = found[1]
        return "%" if name is None else f"${places.setdefault(name, len(places) + 1)}"

    return _PLACE.sub(place, sql).encode(), tuple(places)
