"""What another program sees of a store: read by SQL, with none of the engine's code in between."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import attrs
import psycopg

from faults.workload import BOOKS
from wfe.core.rules.state import State, apply, state_from_json

__all__ = ["Effect", "Reader", "Row", "Run", "Seen", "make_books", "open_reader", "read"]

_EMPTY: Final = (
    "inbox",
    "subscriptions",
    "holders",
    "waiters",
    "activities",
    "outbox",
    "cache_claims",
)
_RUNS: Final = """
SELECT n, id, definition, status, owner, idem, parent, parent_pointer, takeovers, wake, faults
FROM wfe_instances ORDER BY n"""
_JOURNAL: Final = "SELECT instance, seq, at, event FROM wfe_journal ORDER BY instance, seq"
_SNAPSHOTS: Final = "SELECT n, seq, state, data FROM wfe_snapshots"
_EVENTS: Final = "SELECT id, name, key, at FROM wfe_events"
_WORKERS: Final = "SELECT epoch, name, fenced FROM wfe_workers"
_SCHEDULES: Final = "SELECT id, spec, state FROM wfe_schedules"


class Reader(Protocol):
    """Asks a store."""

    def rows(self, sql: str) -> list[Any]:
        """Return all rows; an OSError says that the store does not answer."""
        ...

    def run(self, sql: str) -> None:
        """Do what has no rows."""
        ...


@attrs.frozen
class _Postgres:
    connection: psycopg.Connection[Any]

    def rows(self, sql: str) -> list[Any]:
        return self.connection.execute(sql.encode()).fetchall()

    def run(self, sql: str) -> None:
        self.connection.execute(sql.encode())


@attrs.frozen
class _Sqlite:
    connection: sqlite3.Connection

    def rows(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def run(self, sql: str) -> None:
        self.connection.execute(sql)


@contextmanager
def open_reader(url: str, *, write: bool = False) -> Iterator[Reader]:
    """Return who reads the store behind *url*; *write*: and may write there.

    Raises:
        OSError: It does not answer.
    """
    try:
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///").partition("?")[0]
            mode = "rw" if write else "ro"
            name = f"file:{path}?mode={mode}"
            with contextlib.closing(sqlite3.connect(name, uri=True)) as found:
                yield _Sqlite(found)
        else:
            with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
                yield _Postgres(connection)
    except (psycopg.Error, sqlite3.Error) as error:
        raise ConnectionError(str(error)) from error


def make_books(url: str) -> None:
    """Make the application's own table in the store's database.

    Raises:
        OSError: It does not answer.
    """
    with open_reader(url, write=True) as reader:
        reader.run(f"CREATE TABLE {BOOKS} (key TEXT)")


@attrs.frozen(kw_only=True)
class Row:
    """A row of a run's history; *at* is µs of the store's clock."""

    seq: int
    at: int
    kind: str
    pointer: int | None
    step: str | None
    attempt: int | None
    info: Mapping[str, Any]
    event: list[Any]

    @property
    def call(self) -> str | None:
        """Which call of a durable function it is about."""
        found: str | None = self.info.get("call")
        return found


@attrs.frozen(kw_only=True)
class Run:
    """A run as stored, with all of its rows."""

    n: int
    id: str
    definition: str
    status: str
    owner: int | None
    idem: str | None
    parent: int | None
    parent_pointer: int | None
    takeovers: int
    wake: int | None
    faults: int
    rows: list[Row]
    snapshot: tuple[int, str, str] | None

    @property
    def folded(self) -> State:
        """What its rows alone make of it."""
        state = State()
        for row in self.rows:
            apply(state, row.event)
        return state

    @property
    def stored(self) -> State:
        """What snapshot and tail make of it."""
        since, state = -1, State()
        if self.snapshot is not None:
            since, text, data = self.snapshot
            state = state_from_json(json.loads(text), json.loads(data))
        for row in self.rows:
            if row.seq > since:
                apply(state, row.event)
        return state

    def key(self, row: Row) -> str:
        """Return the idempotency key that the body of *row* had."""
        return f"{self.id}:{row.pointer}" + (f":{row.call}" if row.call else "")


@attrs.frozen(kw_only=True)
class Effect:
    """What a body left behind; *at* is µs of the store's clock."""

    key: str
    attempt: int
    step: str
    what: str
    at: int
    pid: int


Schedule: TypeAlias = "tuple[dict[str, Any], dict[str, Any]]"


@attrs.frozen(kw_only=True)
class Seen:
    """All that there is to see when everything is at rest."""

    runs: list[Run]
    effects: list[Effect]
    events: dict[str, tuple[str, str, int]]
    workers: dict[int, tuple[str, int | None]]
    schedules: dict[str, Schedule]
    left: Counter[str]
    books: Counter[str] = attrs.field(factory=Counter[str])
    """What is in the application's own table."""


def read(url: str, folder: Path, offset: int) -> Seen:
    """Read the store and the effects in *folder*.

    Args:
        url: Of the store.
        folder: Where the hosts wrote their effects.
        offset: µs to add to the machine's monotonic clock, for the store's time.
    """
    with open_reader(url) as reader:
        rows: dict[int, list[Row]] = defaultdict(list)
        for instance, seq, at, event in reader.rows(_JOURNAL):
            rows[instance].append(_row(seq, at, json.loads(event)))
        snapshots = {n: (seq, state, data) for n, seq, state, data in reader.rows(_SNAPSHOTS)}
        runs = [_run(found, rows, snapshots) for found in reader.rows(_RUNS)]
        left = {name: reader.rows(f"SELECT count(*) FROM wfe_{name}")[0][0] for name in _EMPTY}
        events = {id: (name, key, at) for id, name, key, at in reader.rows(_EVENTS)}
        books = Counter(key for (key,) in reader.rows(f"SELECT key FROM {BOOKS}"))
        workers = {epoch: (name, fenced) for epoch, name, fenced in reader.rows(_WORKERS)}
        schedules = {
            id: (json.loads(spec), json.loads(state)) for id, spec, state in reader.rows(_SCHEDULES)
        }
    return Seen(
        runs=runs,
        effects=[
            effect for path in sorted(folder.glob("effects-*")) for effect in _read(path, offset)
        ],
        events=events,
        workers=workers,
        schedules=schedules,
        left=Counter(left),
        books=books,
    )


def _row(seq: int, at: int, event: list[Any]) -> Row:
    _, kind, pointer, step, attempt, info, _ = event
    return Row(
        seq=seq,
        at=at,
        kind=kind,
        pointer=pointer,
        step=step,
        attempt=attempt,
        info=info or {},
        event=event,
    )


def _run(found: Any, rows: Mapping[int, list[Row]], snapshots: Mapping[int, Any]) -> Run:
    n, id, definition, status, owner, idem, parent, pointer, takeovers, wake, faults = found
    return Run(
        n=n,
        id=id,
        definition=definition,
        status=status,
        owner=owner,
        idem=idem,
        parent=parent,
        parent_pointer=pointer,
        takeovers=takeovers,
        wake=wake,
        faults=faults,
        rows=rows.get(n, []),
        snapshot=snapshots.get(n),
    )


def _read(path: Path, offset: int) -> Iterator[Effect]:
    for line in path.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        yield Effect(**{**fact, "at": fact["at"] + offset})
