"""The calls of a durable function that are no steps: waits, other runs, data."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from wfe.core.codec import decode, encode
from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.engine.contexts import call_context
from wfe.core.engine.json_text import dumps
from wfe.core.engine.moments import after
from wfe.core.engine.sizes import as_key, check_index, check_name
from wfe.core.engine.work import Work, do, shape_of
from wfe.core.errors import DataTypeError
from wfe.core.micros import to_micros
from wfe.core.rules.called import (
    CallDone,
    CallOffers,
    CallSleeps,
    CallStarts,
    CallWaits,
    CallWaitsSignal,
)
from wfe.core.rules.inputs import Writes
from wfe.core.rules.positions import FIRST
from wfe.core.rules.state import Pointer

if TYPE_CHECKING:
    from wfe.core.durable.functions import DurableFunction
    from wfe.core.engine.calls import Calls, Made
    from wfe.core.engine.registry import Registered
    from wfe.core.providers import Item

__all__ = [
    "Work",
    "activity",
    "child",
    "detached",
    "do",
    "hash_of",
    "set_fields",
    "shape_of",
    "sleep",
    "wait_for",
    "wait_signal",
]

_OWN: Final = frozenset({"input", "result"})


def hash_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what tells the arguments of a call from others."""
    if not args and not kwargs:
        return ""
    stored = encode([args, kwargs], "arguments")
    text = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


async def sleep(
    calls: Calls, name: str | None, duration: timedelta | None, when: datetime | None, site: str
) -> None:
    """Pause a strand, for *duration* or until *when*."""
    given = _pause(duration) if when is None else _moment(when)
    made = await calls.enter(name or "sleep", hash_of((given,), {}), site)
    if made.record is None:
        until = given if when is not None else after(calls.engine.clock.now(), given, "sleep()")
        calls.feed(
            CallSleeps(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=made.name,
                info=made.info(),
                until=until,
            )
        )
    await calls.outcome(made)


def _pause(duration: object) -> int:
    if not isinstance(duration, timedelta):
        problem = (
            f"sleep() takes a timedelta, got {duration!r}; for seconds: timedelta(seconds=...)"
        )
        raise TypeError(problem)
    return max(to_micros(duration), 0)


def _moment(when: object) -> int:
    if not isinstance(when, datetime):
        problem = f"sleep_until() takes an aware datetime, got {when!r}"
        raise TypeError(problem)
    return to_micros(when)


async def wait_for(
    calls: Calls,
    name: str | None,
    event: str,
    key: object,
    timeout: timedelta | None,
    as_of: datetime | None,
    site: str,
) -> Any:
    """Wait for an event and return its payload."""
    key = as_key("event key", key)
    check_name("event name", event)
    since = calls.run.created_at if as_of is None else to_micros(as_of)
    name = name or f"wait for {event}"
    made = await calls.enter(name, hash_of((event, key), {}), site)
    topic = f"{event}\n{key}"
    if made.record is None:
        calls.feed(
            CallWaits(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=name,
                info=made.info(),
                event=event,
                key=key,
                as_of=since,
                after=made.strand.cursors.get(topic, FIRST),
                until=_until(calls, timeout),
            )
        )
    info = (await calls.outcome(made)).info
    if "at" in info:
        made.strand.cursors[topic] = info["at"]
    return decode(info.get("result"))


def _until(calls: Calls, timeout: timedelta | None) -> int | None:
    if timeout is None:
        return None
    return after(calls.engine.clock.now(), to_micros(timeout), "the timeout")


async def wait_signal(
    calls: Calls, name: str | None, signal: str, timeout: timedelta | None, site: str
) -> Any:
    """Wait for a signal and return its data."""
    check_name("signal name", signal)
    name = name or f"signal {signal}"
    made = await calls.enter(name, hash_of((signal,), {}), site)
    if made.record is None:
        calls.feed(
            CallWaitsSignal(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=name,
                info=made.info(),
                signal=signal,
                until=_until(calls, timeout),
            )
        )
    return decode((await calls.outcome(made)).info.get("result"))


async def activity(
    calls: Calls,
    name: str | None,
    activity: str,
    parameters: Any,
    timeout: timedelta | None,
    site: str,
) -> Any:
    """Offer work to external workers and return the result."""
    check_index("activity name", activity)
    stored = encode(parameters, "parameters")
    name = name or f"activity {activity}"
    calls.engine.sizes.check("parameters", dumps(stored))
    made = await calls.enter(name, hash_of((activity, stored), {}), site)
    if made.record is None:
        calls.feed(
            CallOffers(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=name,
                info=made.info(),
                activity=activity,
                parameters=dumps(stored),
                until=_until(calls, timeout),
            )
        )
    return decode((await calls.outcome(made)).info.get("result"))


async def child(  # noqa: PLR0913, PLR0917 - what is known of a call
    calls: Calls,
    name: str | None,
    definition: str | WorkflowDefinition | DurableFunction[..., Any],
    data: Any,
    version: int | None,
    reference: str | None,
    timeout: timedelta | None,
    site: str,
) -> Any:
    """Run a sub-workflow and return its result."""
    ready = await _registered(calls, definition, version)
    stored = ready.model.start(data)
    id_ = ready.definition.id
    name = name or f"child {id_}"
    made = await calls.enter(name, hash_of((id_, stored), {}), site)
    field = ready.definition.result
    if made.record is None:
        await calls.may_work()
        start = await _start(calls, ready, made, data, reference, detached=False)
        calls.feed(
            CallStarts(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=name,
                info=made.info(),
                start=start,
                select=field,
                until=_until(calls, timeout),
            )
        )
    result = (await calls.outcome(made)).info.get("result")
    if field is None:
        return ready.model.load(result or {})
    return ready.model.load({field: result}).get(field)


async def detached(
    calls: Calls,
    name: str | None,
    definition: str | WorkflowDefinition | DurableFunction[..., Any],
    data: Any,
    version: int | None,
    reference: str | None,
    site: str,
) -> str:
    """Start a run that nobody waits for and return its id."""
    ready = await _registered(calls, definition, version)
    stored = ready.model.start(data)
    id_ = ready.definition.id
    name = name or f"start {id_}"
    made = await calls.enter(name, hash_of((id_, stored), {}), site)
    if made.record is not None:
        return str(calls.ended(made, made.record).info["result"])
    await calls.may_work()
    start = await _start(calls, ready, made, data, reference, detached=True)
    run_id = start.new.id if start.new else ""
    done = CallDone(
        pointer=calls.pointer,
        attempt=calls.attempt,
        name=name,
        info=made.info(result=run_id),
        start=start,
    )
    calls.feed(done)
    calls.ended(made, calls.record(made, await calls.answer(made.key)))
    return run_id


async def _registered(
    calls: Calls,
    definition: str | WorkflowDefinition | DurableFunction[..., Any],
    version: int | None,
) -> Registered:
    registry = calls.engine.registry
    if isinstance(definition, str):
        return registry.find(definition, version)
    built = definition if isinstance(definition, WorkflowDefinition) else definition.build()
    if not any(known is built for known in registry.given):
        registry.add(built)
    if registry.pending:
        await registry.sync(calls.engine.store)
    return registry.find(built.id, built.version)


async def _start(
    calls: Calls, ready: Registered, made: Made, data: Any, reference: str | None, *, detached: bool
) -> Item:
    found = ready.definition
    config = {"definition": found.id, "version": found.version, "detached": detached}
    node = Node(name=made.name, kind=Kind.SUB_WORKFLOW, config=config)
    shown = Pointer(calls.pointer, made.name, None, "", 0, None, {})
    ctx = call_context(calls.run, shown, made.key)
    try:
        item = await calls.engine.starter.child(ctx, node, data, None, reference)
    except Exception:
        made.strand.returned += 1  # it had its answer
        raise
    key = hashlib.blake2b(made.key.encode(), digest_size=16).hexdigest()
    idem = f"child:{calls.run.n}:{calls.pointer}:{key}"
    if item.new is None:  # pragma: no cover - the starter always makes one
        return item
    return attrs.evolve(item, new=attrs.evolve(item.new, idem=idem))


async def set_fields(calls: Calls, name: str | None, fields: dict[str, Any], site: str) -> None:
    """Set fields of the run's data."""
    for field in fields:
        if field in _OWN:
            problem = "is the function's own; give the field another name"
            raise DataTypeError(f"data.{field}", problem)
    stored = {field: encode(value, f"data.{field}") for field, value in fields.items()}
    for field, value in stored.items():
        calls.engine.sizes.check(f"data.{field}", dumps(value))
    made = await calls.enter(name or "set", hash_of((stored,), {}), site)
    if made.record is not None:
        calls.ended(made, made.record)
        return
    done = CallDone(
        pointer=calls.pointer,
        attempt=calls.attempt,
        name=made.name,
        info=made.info(),
        kind="data_set",
        writes=Writes(stored, base=calls.run.state.seq),
    )
    calls.feed(done)
    calls.ended(made, calls.record(made, await calls.answer(made.key)))
