"""What callers ask of runs: events, suspend, resume, terminate; stored before it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from wfe.core.codec import encode
from wfe.core.engine.handlers import call_handler
from wfe.core.engine.ids import uuid7
from wfe.core.engine.json_text import dumps
from wfe.core.engine.options import StartOptions
from wfe.core.engine.sizes import as_key, check_index, check_name, check_note
from wfe.core.engine.updates import Updates
from wfe.core.errors import (
    DataTypeError,
    DefinitionError,
    DefinitionNotFoundError,
    InvalidStateTransitionError,
    LeaseLostError,
    WorkflowNotFoundError,
)
from wfe.core.models import WorkflowStatus, to_micros
from wfe.core.nearest import nearest
from wfe.core.providers import Done, Event, Item, Message, Refused, StoredInstance

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered
    from wfe.core.rules.state import State

__all__ = ["Control"]

_TURNS: Final[Mapping[str, WorkflowStatus]] = {
    "suspend": WorkflowStatus.SUSPENDED,
    **dict.fromkeys(("resume", "retry", "rewind"), WorkflowStatus.RUNNABLE),
}
_REWOUND: Final = frozenset({WorkflowStatus.FAILED, WorkflowStatus.SUSPENDED})


class Control:
    """Durable intents and events."""

    def __init__(self, engine: Engine) -> None:
        """Act on runs of *engine*'s store."""
        self._engine = engine
        self.updates: Updates = Updates(engine)

    async def publish(self, event: Event, *, fresh: bool = False) -> str:
        """Store an event and wake who waits for it; return its id.

        Args:
            event: As :meth:`event` makes it.
            fresh: Its id was made for it: nobody can have published it before.
        """
        self._engine.check_running()
        outcome = await self._engine.committer.submit(Item(publish=(event,)), direct=fresh)
        if not isinstance(outcome, Done):
            raise LeaseLostError
        return event.id

    def event(
        self,
        name: str,
        key: object,
        data: Any,
        id: str | None,
        at: datetime | None,
        expires: timedelta | None = None,
    ) -> Event:
        """Return an event to publish.

        Raises:
            DataTypeError: Name, key or id cannot be indexed, or the data cannot be stored.
        """
        event_id = id or uuid7()
        check_index("event id", event_id)
        payload = dumps(encode(data, "event data"))
        self._engine.sizes.check("event data", payload)
        return Event(
            id=event_id,
            name=check_name("event name", name),
            key=as_key("event key", key),
            payload=payload,
            at=None if at is None else to_micros(at),
            expires=self._engine.retention.event_until(expires),
        )

    async def ask(
        self,
        id_or_name: str,
        what: str,
        payload: Any = None,
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> StoredInstance:
        """Store the intent *what*, with its plain *payload*, for a run; return the run's header.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
        """
        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        await self._tell(header.n, header.id, what, payload, reason, actor)
        return header

    async def _tell(
        self,
        n: int,
        id: str,
        what: str,
        payload: Any,
        reason: str | None,
        actor: str | None,
        *,
        final_too: bool = False,
    ) -> None:
        check_note("actor", actor)
        check_note("reason", reason)
        text = dumps(payload)
        self._engine.sizes.check(f"payload of {what}", text)
        message = Message(
            target=n,
            kind=what,
            payload=text,
            actor=actor,
            reason=reason,
            strict=True,
            allow_final=final_too,
        )
        outcome = await self._engine.committer.submit(Item(messages=(message,)), direct=True)
        if isinstance(outcome, Refused):
            if outcome.why == "missing":
                raise WorkflowNotFoundError(id)
            raise InvalidStateTransitionError(id, what, outcome.existing or "final")
        if not isinstance(outcome, Done):
            raise LeaseLostError

    async def retry(
        self,
        id_or_name: str,
        from_step: str | None,
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Let a run go on where it failed, was terminated or suspended, or from *from_step*.

        Of a run that goes on already, without *from_step*, it is only noted in the history.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is complete.
            DefinitionError: It never came to *from_step*.
        """
        self._engine.check_running()
        header = await self._foreseen(id_or_name)
        if header.status == WorkflowStatus.SUSPENDED:
            await self._retry_suspended(header, from_step, reason, actor)
            return
        if header.status == WorkflowStatus.COMPLETE:
            raise InvalidStateTransitionError(header.id, "retry", header.status)
        if from_step is not None:
            await self._state_before(header, from_step)
        payload = {"from_step": from_step}
        await self._tell(header.n, header.id, "retry", payload, reason, actor, final_too=True)

    async def _foreseen(self, id_or_name: str) -> StoredInstance:
        """Return the header of a run as it will be once it took what was sent to it before.

        Who suspends a run and then takes it back must not depend on who drives it, and when.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        header = await self._engine.reads.header(id_or_name)
        if WorkflowStatus(header.status).final:
            return header
        for loaded in await self._engine.store.load([header.n]):
            header = loaded.header
            sent = [row.kind for row in loaded.inbox if row.kind in _TURNS]
            if sent and not WorkflowStatus(header.status).final:
                return attrs.evolve(header, status=_TURNS[sent[-1]])
        return header

    async def _retry_suspended(
        self, header: StoredInstance, from_step: str | None, reason: str | None, actor: str | None
    ) -> None:
        """Go on with a suspended run: what suspended it is tried again, or *from_step*."""
        if from_step is None:
            await self._tell(header.n, header.id, "resume", None, reason, actor)
        else:
            await self.rewind(header.id, from_step, None, reason=reason, actor=actor)

    async def rewind(
        self,
        id_or_name: str,
        to_step: str,
        data: Mapping[str, Any] | None,
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Take a suspended or failed run back to the last time that *to_step* began.

        Its data is as of then, with the fields of *data* set.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is neither suspended nor failed.
            DefinitionError: It never came to *to_step*.
            DataTypeError: A field does not fit the data.
        """
        self._engine.check_running()
        header = await self._foreseen(id_or_name)
        if header.status not in _REWOUND:
            raise InvalidStateTransitionError(header.id, "rewind", header.status)
        await self._state_before(header, to_step)
        final = WorkflowStatus(header.status).final
        payload = {"to_step": to_step, "data": self._fields(header, data or {})}
        kind = "retry" if final else "rewind"
        await self._tell(header.n, header.id, kind, payload, reason, actor, final_too=final)

    async def fork(
        self,
        id_or_name: str,
        from_step: str,
        data: Mapping[str, Any] | None,
        *,
        actor: str | None = None,
        name: str | None = None,
    ) -> str:
        """Start a new run as the run was when *from_step* began last; return its id.

        A host without code for its definition leaves the new run to one that has.

        Raises:
            WorkflowNotFoundError: There is no such run.
            DefinitionError: It never came to *from_step*.
            DataTypeError: A field does not fit the data.
        """
        from wfe.core.rules.reviving import restored  # noqa: PLC0415 - few hosts fork

        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        ready = await self._engine.inventory.ready(header)
        state = await self._state_before(header, from_step)
        changes = self._fields(header, data or {})
        found = restored(state, {**state.data, **changes})
        info = {"run": header.id, "from": from_step, "actor": actor, "reason": None}
        options = StartOptions(name=name, reference=header.reference, actor=actor)
        return await self._engine.starter.fork(ready, found, info, options)

    def _ready(self, header: StoredInstance) -> Registered:
        ready = self._engine.registry.number(header.d)
        if ready is None:
            known = tuple(f"{d.id} v{d.version}" for d in self._engine.registry.given)
            raise DefinitionNotFoundError(header.definition, header.version, known)
        return ready

    async def _state_before(self, header: StoredInstance, step: str) -> State:
        from wfe.core.rules.reviving import before_step  # noqa: PLC0415 - as above

        rows = await self._engine.lookups.rows(header.n)
        state = before_step(rows, step)
        if state is None:
            begun = sorted({op[2] for row in rows for op in row[6] if op[0] == "p"})
            problem = f"the run never came to step {step!r}{nearest(step, begun)}"
            raise DefinitionError(problem, header.id, f"it came to: {', '.join(begun)}")
        return state

    def _fields(self, header: StoredInstance, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return data fields in stored form, checked against the run's data type."""
        ready = self._engine.registry.number(header.d)
        if ready is None:
            return {name: encode(value, name) for name, value in fields.items()}
        return ready.model.fields(fields)

    async def skip(
        self, id_or_name: str, pointer: int, *, reason: str | None, actor: str | None
    ) -> None:
        """Go on after a pointer as if its step were done; a suspended run goes on, too.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or the pointer is not live.
        """
        self._engine.check_running()
        found = await self._engine.reads.get(id_or_name)
        if found is None:
            raise WorkflowNotFoundError(id_or_name)
        if not found.status.final and pointer not in {p.id for p in found.pointers}:
            what = f"skip pointer {pointer} of"
            raise InvalidStateTransitionError(found.id, what, str(found.status))
        await self.ask(id_or_name, "skip", {"pointer": pointer}, reason=reason, actor=actor)

    async def patch(
        self,
        id_or_name: str,
        fields: Mapping[str, Any],
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Set data fields of a run.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
            DataTypeError: A field is unknown, or its value does not fit.
        """
        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        if not isinstance(fields, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
            raise DataTypeError("fields", f"expected a mapping, got {fields!r}")
        payload = {"fields": self._fields(header, fields)}
        await self._tell(header.n, header.id, "patch", payload, reason, actor)

    async def signal(
        self, id_or_name: str, name: str, data: Any, *, actor: str | None = None
    ) -> None:
        """Send a signal to one run; it is kept until the run waits for it.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
            DataTypeError: The data cannot be stored.
        """
        payload = {"name": check_name("signal name", name), "data": encode(data, "signal data")}
        self._engine.check_running()
        # Of a run that is driven here all is known that is needed; the store has the last word.
        run = self._engine.runs.driven(id_or_name)
        if run is not None:
            await self._tell(run.n, run.ref.id, "signal", payload, None, actor)
        else:
            await self.ask(id_or_name, "signal", payload, actor=actor)

    async def update(
        self,
        id_or_name: str,
        name: str,
        data: Any,
        *,
        actor: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Ask a run to handle an update, and return what its handler said.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or ended before it answered.
            UpdateRejectedError: Its validator or handler refused.
            TimeoutError: There was no answer within *timeout* seconds.
        """
        async with asyncio.timeout(timeout):
            return await self.updates.ask(id_or_name, name, data, actor)

    async def query(self, id_or_name: str, name: str, data: Any) -> Any:
        """Return what a run's query handler says; nothing of the run changes.

        Raises:
            WorkflowNotFoundError: There is no such run.
            DefinitionNotFoundError: This host has no code for its definition.
            DefinitionError: It has no such query.
        """
        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        ready = self._ready(header)
        handler = ready.definition.code.get(f"/query:{name}")
        if handler is None:
            handlers = ready.definition.handlers
            known = [h.removeprefix("query:") for h in handlers if h.startswith("query:")]
            problem = f"it has no query {name!r}{nearest(name, known)}"
            raise DefinitionError(problem, header.definition, "declare it with on_query()")
        found = await self._engine.reads.get(header.id)
        return await call_handler(handler, found.data if found else None, data)

    async def approve(
        self,
        id_or_name: str,
        answer: str,
        *,
        step: str | None = None,
        pointer: int | None = None,
        comment: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Answer the question that a run waits for; *step* or *pointer* say which one.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It asks nothing, is final, or asks more than one thing.
            DataTypeError: *answer* is none of the options.
        """
        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        asked = [
            (key, question)
            for key, names, question in await self._engine.reads.questions(header.n)
            if (step is None or step in names) and pointer in (None, key)
        ]
        if len(asked) != 1 or WorkflowStatus(header.status).final:
            why = "it asks several things" if asked else "nothing is asked there now"
            what = f"approve {'without step= ' if asked else ''}({why})"
            raise InvalidStateTransitionError(header.id, what, header.status)
        key, question = asked[0]
        if answer not in question["options"]:
            options = ", ".join(question["options"])
            raise DataTypeError("answer", f"{answer!r} is none of the options: {options}")
        payload = {"pointer": key, "answer": answer, "comment": comment}
        await self._tell(header.n, header.id, "approve", payload, None, actor)
