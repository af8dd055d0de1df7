"""Starts runs: for callers, and for sub-workflow steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from wfe.core.engine.ids import shown_name, uuid7
from wfe.core.engine.json_text import dumps
from wfe.core.engine.options import StartOptions
from wfe.core.engine.sizes import check_index
from wfe.core.errors import DuplicateNameError, LeaseLostError
from wfe.core.lean import lean
from wfe.core.models import WorkflowInstance, WorkflowStatus, from_micros, to_micros
from wfe.core.providers import Done, Header, Item, Refused
from wfe.core.rules.decide import begin, begin_from
from wfe.core.rules.inputs import Decision, Restored
from wfe.core.rules.state import State, apply
from wfe.core.steps import InstanceRef

if TYPE_CHECKING:
    from wfe.core.definition import Node
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered
    from wfe.core.steps import StepExecutionContext

__all__ = ["StartOptions", "Starter", "check_index"]


@lean(kw_only=True)
class _Birth:
    """What a new instance is besides its definition and data.

    Attributes:
        parent: (number, pointer) of the run that waits for it; ``None``: nobody waits.
        found: An earlier state of another run to go on from; ``None``: it begins at its start.
    """

    n: int
    owner: int | None
    wake: int
    info: Mapping[str, Any]
    name: str | None = None
    idem: str | None = None
    dedup: str | None = None
    priority: int = 0
    parent: tuple[int, int] | None = None
    found: Restored | None = None


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
        ready, stored = await self._checked(id, version, data, options)
        numbers = self._engine.numbers
        n = numbers.next() or await numbers.take()
        owner = self._owner(ready, options)
        return await self._begin(ready, stored, self._birth(n, owner, options), options)

    async def fork(
        self, ready: Registered, found: Restored, info: Mapping[str, Any], options: StartOptions
    ) -> str:
        """Start a run that goes on from an earlier state of another; return its id."""
        options.check()
        n = await self._engine.numbers.take()
        able = self._engine.registry.number(ready.d) is ready
        birth = self._birth(n, self._owner(ready, options) if able else None, options)
        birth = attrs.evolve(birth, found=found, info=info)
        run_id, _ = await self._begin(ready, dict(found.data or {}), birth, options)
        return run_id

    async def unowned(self, id: str, version: int | None, data: Any, options: StartOptions) -> Item:
        """Return the first item of a run without owner and number, for the outbox.

        Raises:
            DefinitionNotFoundError: The definition is not registered.
            DataTypeError: The data cannot be stored, or does not fit its type.
        """
        ready, stored = await self._checked(id, version, data, options)
        ref = _ref(ready, 0, uuid7(), options)
        await self._ask(ready, ref, stored)
        item, _ = self._item(ready, ref, stored, self._birth(0, None, options))
        return item

    async def prepared(
        self, ready: Registered, data: Any, idem: str, info: Mapping[str, Any]
    ) -> Item:
        """Return the first item of a run that nobody owns and that is due now, for a schedule.

        Raises:
            DataTypeError: The data cannot be stored, or does not fit its type.
        """
        stored = ready.model.start(data)
        n, options = await self._engine.numbers.take(), StartOptions()
        ref = _ref(ready, n, uuid7(), options)
        await self._ask(ready, ref, stored)
        birth = attrs.evolve(self._birth(n, None, options), idem=idem, info=info)
        item, _ = self._item(ready, ref, stored, birth)
        return item

    async def _checked(
        self, id: str, version: int | None, data: Any, options: StartOptions
    ) -> tuple[Registered, dict[str, Any]]:
        engine = self._engine
        engine.check_running()
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        options.check()
        ready = engine.registry.find(id, version)
        return ready, ready.model.start(data)

    def _owner(self, ready: Registered, options: StartOptions) -> int | None:
        """Return who drives a new run from its start: this host, if it may and can."""
        engine = self._engine
        delayed = options.delay is not None and options.delay > timedelta(0)
        return (
            engine.epoch
            if engine.runs.room > 0 and not delayed and engine.gates.may(ready)
            else None
        )

    def _birth(self, n: int, owner: int | None, options: StartOptions) -> _Birth:
        delay = to_micros(options.delay) if options.delay else 0
        key = options.idempotency_key
        return _Birth(
            n=n,
            owner=owner,
            wake=self._engine.clock.now() + delay,
            info={"actor": options.actor},
            name=options.name,
            idem=None if key is None else f"key:{key}",
            dedup=options.dedup_key,
            priority=options.priority,
        )

    async def _begin(
        self,
        ready: Registered,
        stored: dict[str, Any],
        birth: _Birth,
        options: StartOptions,
    ) -> tuple[str, bool]:
        engine = self._engine
        run_id = uuid7()
        ref = _ref(ready, birth.n, run_id, options)
        if engine.hooks:
            await self._ask(ready, ref, stored)
        if engine.runs.roots is not None:
            engine.runs.roots.add(ref.root_id)
        item, decision = self._item(ready, ref, stored, birth)
        outcome = await engine.committer.submit(item)
        if isinstance(outcome, Refused):
            if outcome.why in ("idem", "dedup") and outcome.existing is not None:
                return outcome.existing, False
            raise DuplicateNameError(options.name or "")
        if not isinstance(outcome, Done):
            raise LeaseLostError
        if birth.owner is not None:
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

    def _item(
        self, ready: Registered, ref: InstanceRef, stored: dict[str, Any], birth: _Birth
    ) -> tuple[Item, Decision]:
        now = self._engine.clock.now()
        shown = {key: value for key, value in birth.info.items() if value is not None}
        if birth.found is None:
            decision = begin(ready.plan, stored, now, shown)
        else:
            decision = begin_from(ready.plan, birth.found, now, shown)
        header = Header(
            n=birth.n,
            id=ref.id,
            d=ready.d,
            definition=ref.definition,
            version=ref.version,
            name=birth.name,
            reference=ref.reference,
            status=WorkflowStatus.RUNNABLE.value,
            wake=None if birth.owner is not None else birth.wake,
            owner=birth.owner,
            parent=birth.parent[0] if birth.parent else None,
            parent_pointer=birth.parent[1] if birth.parent else None,
            parent_id=ref.parent_id,
            root_id=ref.root_id,
            idem=birth.idem,
            priority=birth.priority,
            dedup=birth.dedup,
        )
        rows = tuple(dumps(row) for row in decision.rows)
        self._engine.sizes.check_fields(stored, sum(map(len, rows)))
        return Item(n=birth.n, rows=rows, new=header, hold=decision.hold), decision

    def _drive(
        self, ready: Registered, ref: InstanceRef, item: Item, decision: Decision, done: Done
    ) -> None:
        state = State()
        for row in decision.rows:
            apply(state, row)
        run = self._engine.runs.make(ref, ready, item.n, state, done.at)
        run.tail_bytes = sum(map(len, item.rows))
        if item.new is not None:
            run.parent, run.parent_pointer = item.new.parent, item.new.parent_pointer
        self._engine.report.happened(run, decision.rows, done.at)
        if item.n not in self._engine.live:  # else it was found to be ours before this was told
            self._engine.runs.adopt(run)

    async def child(
        self,
        ctx: StepExecutionContext[Any],
        node: Node,
        data: Any,
        name: str | None = None,
        reference: str | None = None,
    ) -> Item:
        """Return the first item of the sub-workflow that *node* starts.

        Raises:
            DefinitionNotFoundError: The child's definition is not registered on this host.
            DataTypeError: The data does not fit the child's type.
        """
        engine = self._engine
        ready = engine.registry.find(node.config["definition"], node.config.get("version"))
        stored = ready.model.start(data)
        parent = ctx.instance
        options = StartOptions(name=name, reference=reference, around=(parent.id, parent.root_id))
        options.check()
        n = await engine.numbers.take()
        ref = _ref(ready, n, uuid7(), options)
        await self._ask(ready, ref, stored)
        run = engine.runs.driven(parent.id)
        number = run.n if run is not None else 0
        # A run that was taken back has the same pointers again: its children are others.
        life = "" if run is None or run.state.since is None else f":{run.state.since}"
        detached = bool(node.config.get("detached"))
        birth = _Birth(
            n=n,
            owner=None,
            wake=engine.clock.now(),
            info={"parent": parent.id},
            name=name,
            idem=f"child:{number}:{ctx.pointer.id}:{ctx.pointer.attempt}{life}",
            parent=None if detached else (number, ctx.pointer.id),
        )
        item, _ = self._item(ready, ref, stored, birth)
        return item


def _ref(ready: Registered, n: int, id: str, options: StartOptions) -> InstanceRef:
    parent_id, root_id = options.around or (None, id)
    return InstanceRef(
        id=id,
        name=shown_name(options.name, ready.definition.id, n),
        definition=ready.definition.id,
        version=ready.definition.version,
        reference=options.reference,
        parent_id=parent_id,
        root_id=root_id,
    )
