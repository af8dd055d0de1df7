"""Starts runs: for callers, and for sub-workflow steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from wfe.core.engine.ids import uuid7
from wfe.core.engine.live import dumps
from wfe.core.errors import DataTypeError, DuplicateNameError, LeaseLostError
from wfe.core.models import WorkflowInstance, WorkflowStatus, from_micros, to_micros
from wfe.core.providers import Done, Header, Item, Refused
from wfe.core.rules import State, apply, begin
from wfe.core.rules.inputs import Decision
from wfe.core.steps import InstanceRef

if TYPE_CHECKING:
    from wfe.core.definition import Node
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered
    from wfe.core.steps import StepExecutionContext

__all__ = ["StartOptions", "Starter", "check_index"]

_INDEX_BYTES: Final = 512


def check_index(what: str, value: str | None) -> None:
    """Refuse a text that no store could index.

    Raises:
        DataTypeError: It is longer than 512 bytes in UTF-8, contains NUL, or is no valid text.
    """
    if value is None:
        return
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        raise DataTypeError(what, f"expected a text, got {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise DataTypeError(what, "contains a lone surrogate; it cannot be stored") from None
    if size > _INDEX_BYTES:
        raise DataTypeError(what, f"is {size} bytes long; at most {_INDEX_BYTES} can be indexed")
    if "\0" in value:
        raise DataTypeError(what, "contains a NUL character; it cannot be indexed")


@attrs.frozen(kw_only=True)
class StartOptions:
    """How a run starts.

    Attributes:
        name: Unique in the store; ``None``: none.
        reference: The caller's own key, for ``find``.
        idempotency_key: A second start of the definition with the same key finds the first run.
        delay: Before the first step.
    """

    name: str | None = None
    reference: str | None = None
    idempotency_key: str | None = None
    delay: timedelta | None = None
    actor: str | None = None

    def check(self) -> None:
        """Refuse what cannot be indexed.

        Raises:
            DataTypeError: One of the texts is too long or contains NUL.
        """
        check_index("name", self.name)
        check_index("reference", self.reference)
        check_index("idempotency_key", self.idempotency_key)


class Starter:
    """Makes new runs."""

    def __init__(self, engine: Engine) -> None:
        """Start runs on *engine*."""
        self._engine = engine

    async def start(
        self, id: str, version: int | None, data: Any, options: StartOptions
    ) -> tuple[str, bool]:
        """Start a run; return its id, and whether it is new.

        Raises:
            DefinitionNotFoundError: The definition is not registered.
            DataTypeError: The data cannot be stored, or does not fit its type.
            DuplicateNameError: The name is taken.
        """
        engine = self._engine
        engine.check_running()
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        options.check()
        ready = engine.registry.find(id, version)
        stored = ready.model.start(data)
        delayed = options.delay is not None and options.delay > timedelta(0)
        run_id = uuid7()
        ref = _ref(ready, run_id, options, None, run_id)
        await self._ask(ready, ref, stored)
        if engine.roots is not None:
            engine.roots.add(run_id)
        owner = engine.epoch if engine.room > 0 and not delayed else None
        wake = engine.clock.now() + (to_micros(options.delay) if options.delay else 0)
        idem = None if options.idempotency_key is None else f"key:{options.idempotency_key}"
        item, decision = await self._item(
            ready, ref, stored, owner=owner, wake=wake, idem=idem, info={"actor": options.actor}
        )
        outcome = await engine.committer.submit(item)
        if isinstance(outcome, Refused):
            if outcome.why == "idem" and outcome.existing is not None:
                return outcome.existing, False
            raise DuplicateNameError(options.name or "")
        if not isinstance(outcome, Done):
            raise LeaseLostError
        if owner is not None:
            self._drive(ready, ref, item, decision, outcome)
        else:
            engine.nudge()
        return run_id, True

    async def _ask(self, ready: Registered, ref: InstanceRef, stored: dict[str, Any]) -> None:
        """Let workflow middleware look at the run before it is stored."""
        if not self._engine.hooks:
            return
        now = from_micros(self._engine.clock.now())
        instance: WorkflowInstance[Any] = WorkflowInstance(
            id=ref.id,
            name=ref.name,
            definition=ref.definition,
            version=ref.version,
            status=WorkflowStatus.RUNNABLE,
            data=ready.model.load(stored),
            reference=ref.reference,
            error=None,
            pointers=(),
            created_at=now,
            completed_at=None,
            parent_id=ref.parent_id,
            root_id=ref.root_id,
        )
        for hook in self._engine.hooks:
            await hook.pre(instance)

    async def _item(  # noqa: PLR0913 - the parts of a start
        self,
        ready: Registered,
        ref: InstanceRef,
        stored: dict[str, Any],
        *,
        owner: int | None,
        wake: int,
        idem: str | None,
        info: Mapping[str, Any],
        parent: tuple[int, int] | None = None,
    ) -> tuple[Item, Decision]:
        now = self._engine.clock.now()
        shown = {key: value for key, value in info.items() if value is not None}
        decision = begin(ready.plan, stored, now, shown)
        n = await self._engine.numbers.take()
        header = Header(
            n=n,
            id=ref.id,
            d=ready.d,
            definition=ref.definition,
            version=ref.version,
            name=ref.name,
            reference=ref.reference,
            status=WorkflowStatus.RUNNABLE.value,
            wake=None if owner is not None else wake,
            owner=owner,
            parent=parent[0] if parent else None,
            parent_pointer=parent[1] if parent else None,
            parent_id=ref.parent_id,
            root_id=ref.root_id,
            idem=idem,
        )
        rows = tuple(dumps(row) for row in decision.rows)
        return Item(n=n, rows=rows, new=header), decision

    def _drive(
        self, ready: Registered, ref: InstanceRef, item: Item, decision: Decision, done: Done
    ) -> None:
        state = State()
        for row in decision.rows:
            apply(state, row)
        run = self._engine.make_run(ref, ready, item.n, state, done.at)
        run.tail_bytes = sum(map(len, item.rows))
        if item.new is not None:
            run.parent, run.parent_pointer = item.new.parent, item.new.parent_pointer
        self._engine.report.happened(run, decision.rows, done.at)
        self._engine.adopt(run)

    async def child(self, ctx: StepExecutionContext[Any], node: Node, data: Any) -> Item:
        """Return the first item of the sub-workflow that *node* starts.

        Raises:
            DefinitionNotFoundError: The child's definition is not registered on this host.
            DataTypeError: The data does not fit the child's type.
        """
        engine = self._engine
        ready = engine.registry.find(node.config["definition"], node.config.get("version"))
        stored = ready.model.start(data)
        parent = ctx.instance
        run = engine.driven(parent.id)
        number = run.n if run is not None else 0
        child_id = uuid7()
        ref = _ref(ready, child_id, StartOptions(), parent.id, parent.root_id)
        await self._ask(ready, ref, stored)
        idem = f"child:{number}:{ctx.pointer.id}:{ctx.pointer.attempt}"
        item, _ = await self._item(
            ready,
            ref,
            stored,
            owner=None,
            wake=engine.clock.now(),
            idem=idem,
            info={"parent": parent.id},
            parent=(number, ctx.pointer.id),
        )
        return item


def _ref(
    ready: Registered, id: str, options: StartOptions, parent_id: str | None, root_id: str
) -> InstanceRef:
    return InstanceRef(
        id=id,
        name=options.name,
        definition=ready.definition.id,
        version=ready.definition.version,
        reference=options.reference,
        parent_id=parent_id,
        root_id=root_id,
    )
