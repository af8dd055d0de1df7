"""What goes before and into the function that applies rare effects: locks, and items as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import orjson
from psycopg import DataError

from wfe.core.lean import define
from wfe.core.providers import Hold, Item, Subscription, superseded
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.names import GUARDS, Names
from wfe.postgres.writing import needs_seen

__all__ = ["APPLY", "BUCKETS", "document", "guard_of_topic", "locks"]

APPLY: Final = """
SELECT o_at, o_outcome, o_info, o_woken
FROM wfe_apply_1(%(epoch)s::bigint, %(now)s::bigint, %(items)s::jsonb)"""
"""Applies items in their order; no row: the worker is fenced."""

BUCKETS: Final = 1023
"""A mask of the numbers of guards: the server's table of locks is finite."""
# First of all, in one order; keys that somebody leaves too.
_GUARDS: Final = f"""
SELECT pg_advisory_xact_lock(%(class)s::int, g.k) FROM (
    SELECT DISTINCT hashtext(w.what) & {BUCKETS} AS k FROM (
        SELECT unnest(%(guards)s::text[]) AS what
        UNION ALL
        SELECT 'limit ' || key FROM wfe_holders WHERE instance = ANY (%(leaving)s::bigint[])
        UNION ALL
        SELECT 'limit ' || key FROM wfe_waiters WHERE instance = ANY (%(leaving)s::bigint[])) w
    ORDER BY k) g"""  # noqa: S608 - a constant
# Then the runs, in the order of their numbers.  Whom the guards let nobody else add to are found
# here, in a later statement than the guards.
_RUNS: Final = {
    "numbers": "SELECT unnest(%(numbers)s::bigint[]) AS n",
    "parents": """
    SELECT n FROM wfe_instances
    WHERE parent = ANY (%(parents)s::bigint[]) AND completed_at IS NULL""",
    "topics": """
    SELECT s.instance FROM unnest(%(names)s::text[], %(keys)s::text[]) AS t (name, key)
    JOIN wfe_subscriptions s ON s.name = t.name AND s.key = t.key""",
    "leaving": """
    SELECT m.instance FROM wfe_holders h CROSS JOIN LATERAL (
        SELECT instance FROM wfe_waiters w WHERE w.key = h.key ORDER BY w LIMIT 100) m
    WHERE h.instance = ANY (%(leaving)s::bigint[])""",
    "limits": """
    SELECT m.instance FROM unnest(%(limits)s::text[]) AS l (key) CROSS JOIN LATERAL (
        (SELECT instance FROM wfe_waiters w WHERE w.key = l.key ORDER BY w LIMIT 100)
        UNION ALL
        (SELECT instance FROM wfe_holders h WHERE h.key = l.key LIMIT 100)) m""",
}
_SCHEDULES: Final = """
SELECT id FROM wfe_schedules WHERE id = ANY (%(fires)s::text[]) ORDER BY id FOR UPDATE"""


@define
class _Wanted:
    """Whom and what a batch touches."""

    numbers: set[int] = attrs.field(factory=set[int])
    parents: set[int] = attrs.field(factory=set[int])
    leaving: set[int] = attrs.field(factory=set[int])
    topics: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])
    published: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])
    limits: set[str] = attrs.field(factory=set[str])
    fires: set[str] = attrs.field(factory=set[str])

    def add(self, item: Item) -> None:
        if item.n and item.new is None:
            self.numbers.add(item.n)
        for message in item.messages:
            if message.target is None:
                self.parents.add(item.n)
            else:
                self.numbers.add(message.target)
        self.topics.update((wait.name, wait.key) for wait in item.subscribe)
        self.published.update((event.name, event.key) for event in item.publish)
        self.limits.update(hold.key for hold in item.hold)
        if item.unhold or (item.header is not None and item.header.final):
            self.leaving.add(item.n)
        if item.fire is not None:
            self.fires.add(item.fire.id)
        for child in item.starts:
            self.add(child)


@lru_cache(maxsize=64)
def _runs_sql(parts: tuple[str, ...]) -> str:
    wanted = " UNION ".join(_RUNS[part] for part in parts)
    return f"""
SELECT i.n FROM (SELECT n FROM ({wanted}) AS any_order (n) ORDER BY n) wanted
CROSS JOIN LATERAL (
    SELECT n FROM wfe_instances WHERE n = wanted.n FOR NO KEY UPDATE) i"""  # noqa: S608 - constants


def locks(
    items: Iterable[Item], others: Sequence[int], names: Names
) -> list[tuple[str, dict[str, Any]]]:
    """Return the statements that lock all that *items* touch, each kind in one order.

    Args:
        items: That are applied by the function.
        others: Instances that the same transaction changes otherwise.
        names: Of the store.
    """
    wanted = _Wanted()
    wanted.numbers.update(others)
    for item in items:
        wanted.add(item)
    statements: list[tuple[str, dict[str, Any]]] = []
    topics = sorted(wanted.topics | wanted.published)
    guards = [guard_of_topic(name, key) for name, key in topics]
    guards += [f"limit {key}" for key in sorted(wanted.limits)]
    leaving = sorted(wanted.leaving)
    if guards or leaving:
        args = {
            "class": names.lock(GUARDS),
            "guards": Texts(guards),
            "leaving": Ints(leaving),
        }
        statements.append((_GUARDS, args))
    parts: dict[str, dict[str, Any]] = {
        "numbers": {"numbers": Ints(sorted(wanted.numbers))},
        "parents": {"parents": Ints(sorted(wanted.parents))},
        "topics": {
            "names": Texts([name for name, _ in wanted.published]),
            "keys": Texts([key for _, key in wanted.published]),
        },
        "leaving": {"leaving": Ints(leaving)},
        "limits": {"limits": Texts(sorted(wanted.limits))},
    }
    there = tuple(part for part, columns in parts.items() if any(columns.values()))
    if there:
        given = {name: column for part in there for name, column in parts[part].items()}
        statements.append((_runs_sql(there), given))
    if wanted.fires:
        statements.append((_SCHEDULES, {"fires": Texts(sorted(wanted.fires))}))
    return statements


def guard_of_topic(name: str, key: str) -> str:
    """Return what is locked by whoever publishes events of a topic or begins to wait for one."""
    return f"topic {len(name)} {name} {key}"


def document(items: Sequence[Item]) -> str:
    """Return *items* as the JSON that :data:`APPLY` is given."""
    try:
        return orjson.dumps([_item(item) for item in items]).decode()
    except TypeError as error:  # half of a character
        raise DataError(str(error)) from error


def _item(item: Item) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n": item.n,
        "base": item.base,
        "seen": item.seen,
        "needs_seen": needs_seen(item),
        "alive": item.alive,
    }
    for name, form in _FORMS.items():
        value = getattr(item, name)
        if value is not None and value != ():
            found[name] = form(value)
    return found


def _fields(value: Any) -> dict[str, Any]:
    return {
        name: field
        for name in (each.name for each in attrs.fields(value.__class__))
        if (field := getattr(value, name)) is not None
    }


def _subscription(wait: Subscription) -> dict[str, Any]:
    # The first position that it may match.
    first_at, first_e = max((wait.after_at, wait.after_e + 1), (wait.as_of, 0))
    return {**_fields(wait), "first_at": first_at, "first_e": first_e}


def _hold(hold: Hold) -> dict[str, Any]:
    found = _fields(hold)
    if hold.on_conflict == "cancel_running":
        found["reason"] = superseded(0, hold.key).reason
    return found


def _each(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [form(value) for value in values]


_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "rows": list,
    "fold": _fields,
    "new": _fields,
    "starts": _each(_item),
    "header": _fields,
    "consumed": list,
    "subscribe": _each(_subscription),
    "unsubscribe": list,
    "messages": _each(_fields),
    "publish": _each(_fields),
    "activities": _each(_fields),
    "end_activities": list,
    "hold": _each(_hold),
    "unhold": list,
    "fire": _fields,
}
