"""A transition in the making: reads like the state, writes rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wfe.core.definition import Node
from wfe.core.errors import DefinitionError
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.providers import Item, Message, Subscription
from wfe.core.rounds import of_round
from wfe.core.rules.inputs import Decision, Writes
from wfe.core.rules.plan import Place, Plan
from wfe.core.rules.state import FORMAT, Pointer, State

__all__ = ["Draft"]

_FINAL: Final = frozenset(status.value for status in WorkflowStatus if status.final)
_CANCELLED: Final = PointerStatus.CANCELLED.value
_MAX_PUTS: Final = 200_000  # pointers one transition may open; more is a loop without a step
_EMPTY: Final[Mapping[str, Any]] = {}
_NO_FIELDS: Final[dict[str, Any]] = {}  # never changed: writing puts a new one in its place


class Draft:
    """Rows and effects of one transition over a state that stays as it is."""

    def __init__(self, plan: Plan, state: State, now: int) -> None:
        """Begin a transition at *now* (µs)."""
        self.plan = plan
        self.now = now
        self.status: str = state.status
        self.error: Mapping[str, Any] | None = state.error
        self.rows: list[list[Any]] = []
        self._state = state
        self._ops: list[list[Any]] = []
        self._pointers: dict[int, Pointer | None] = {}
        # Most transitions have none of these: a mapping or list is made when one is needed.
        self._fields: dict[str, Any] = _NO_FIELDS
        self._written: set[str] | None = None
        self._consumed: tuple[int, ...] = ()
        self._waits: tuple[Subscription, ...] = ()
        self._ended: list[int] | None = None
        self._starts: tuple[Item, ...] = ()
        self._messages: tuple[Message, ...] = ()
        self._next = state.next_pointer
        self._changed = False
        self._cleared = False

    # -- reading

    def pointer(self, key: int) -> Pointer | None:
        """Return a live pointer as of now."""
        if key in self._pointers or self._cleared:
            return self._pointers.get(key)
        return self._state.pointers.get(key)

    def live(self) -> Iterator[Pointer]:
        """Yield every live pointer."""
        if not self._cleared:
            for key, pointer in self._state.pointers.items():
                if key not in self._pointers:
                    yield pointer
        for written in list(self._pointers.values()):
            if written is not None:
                yield written

    def remaining(self) -> list[Pointer]:
        """Return every live pointer."""
        return list(self.live())

    def path(self, pointer: Pointer) -> tuple[int, ...]:
        """Return the numbers of the for-each items that *pointer* stands in, outermost first."""
        path: list[int] = []
        index, key = pointer.extra.get("index"), pointer.parent
        while key is not None and (container := self.pointer(key)) is not None:
            if "items" in container.extra and index is not None:
                path.append(index)
            index, key = container.extra.get("index"), container.parent
        return tuple(reversed(path))

    def forget_round(self, path: tuple[int, ...]) -> None:
        """Delete what the steps of a round recorded."""
        fields = [*self._state.data, *self._fields]
        gone = list(dict.fromkeys(of_round(fields, path)))
        if gone:
            self._ops.append(["x", gone])

    def place(self, pointer: Pointer) -> Place:
        """Return where the pointer's node stands in the definition."""
        return self.plan.places[pointer.step]

    @property
    def final(self) -> bool:
        """Whether the run is over."""
        return self.status in _FINAL

    # -- writing

    def row(
        self, kind: str, pointer: Pointer | None = None, info: Mapping[str, Any] | None = None
    ) -> None:
        """Begin a row: what is written from here on belongs to it."""
        self._ops = []
        if pointer is None:
            self.rows.append([FORMAT, kind, None, None, None, info, self._ops])
        else:
            row = [FORMAT, kind, pointer.id, pointer.step, pointer.attempt, info, self._ops]
            self.rows.append(row)

    def put(
        self,
        node: Node,
        parent: int | None,
        status: str,
        extra: Mapping[str, Any] = _EMPTY,
    ) -> Pointer:
        """Add a pointer at *node*."""
        pointer = Pointer(self._next, node.name, parent, status, 0, None, extra)
        self._next += 1
        if self._next - self._state.next_pointer > _MAX_PUTS:
            problem = f"more than {_MAX_PUTS} steps opened at once"
            raise DefinitionError(problem, node.name, "is it a loop that contains no step?")
        self._pointers[pointer.id] = pointer
        self._ops.append(["p", pointer.id, pointer.step, parent, status, 0, None, extra or 0])
        return pointer

    def drop(self, pointer: Pointer) -> None:
        """Remove a pointer; its wait, if any, ends with it."""
        self._pointers[pointer.id] = None
        self._ops.append(["d", pointer.id])
        if "wait" in pointer.extra:
            self.end_wait(pointer)

    def move(self, pointer: Pointer, parent: int) -> None:
        """Mark a pointer cancelled and hand it to container *parent* until its body has ended."""
        p = Pointer(pointer.id, pointer.step, parent, _CANCELLED, pointer.attempt, None, _EMPTY)
        self._pointers[p.id] = p
        self._ops.append(["p", p.id, p.step, parent, p.status, p.attempt, None, 0])

    def turn(
        self, pointer: Pointer, status: str, *, attempt: int | None = None, wake: int | None = None
    ) -> Pointer:
        """Change status, attempt and wake time of a pointer."""
        attempt = pointer.attempt if attempt is None else attempt
        current = self._pointers.get(pointer.id) or pointer
        turned = current.turned(status, attempt, wake)
        self._pointers[pointer.id] = turned
        self._ops.append(["t", pointer.id, status, attempt, wake])
        return turned

    def extra(self, pointer: Pointer, **changes: Any) -> Pointer:
        """Change extras of a pointer; ``None`` removes one."""
        current = self._pointers.get(pointer.id) or pointer
        merged = {**current.extra, **changes}
        extra = {key: value for key, value in merged.items() if value is not None}
        changed = current.having(extra)
        self._pointers[pointer.id] = changed
        self._ops.append(["e", pointer.id, changes])
        return changed

    def entry(self, pointer: Pointer, name: str, key: str, value: Any) -> Pointer:
        """Change one entry of a mapping in a pointer's extras."""
        current = self._pointers.get(pointer.id) or pointer
        extra = {**current.extra, name: {**current.extra[name], key: value}}
        changed = current.having(extra)
        self._pointers[pointer.id] = changed
        self._ops.append(["k", pointer.id, name, key, value])
        return changed

    def store(self, name: str, value: Any) -> None:
        """Set one data field, through its reducer when it has one."""
        if name in self.plan.reducers:
            self._reduce(name, value)
        else:
            self._fields = {**self._fields, name: value}
            self._ops.append(["s", {name: value}])

    def write(self, writes: Writes) -> list[str]:
        """Merge what a step wrote; return the fields that another wrote since it began."""
        if writes.fields:
            self._fields = {**self._fields, **writes.fields}
            self._ops.append(["s", dict(writes.fields)])
        if writes.removed:
            self._ops.append(["x", list(writes.removed)])
        for name, operand in writes.reduced.items():
            self._reduce(name, operand)
        if not (writes.fields or writes.removed):
            return []
        written = (*writes.fields, *writes.removed)
        last = self._state.writers
        mine = self._written = self._written or set()
        # Overwritten is what another step of this batch wrote, or a row after the step's start.
        lost = [name for name in written if name in mine or last.get(name, -1) > writes.base]
        mine.update(written)
        return lost

    def _reduce(self, name: str, operand: Any) -> None:
        reducer = self.plan.reducers[name]
        known = name in self._fields or name in self._state.data
        if reducer.name is not None:
            self._ops.append(["r", name, reducer.name, operand])
        else:
            current = self._fields.get(name, self._state.data.get(name))
            value = reducer.merge(current, operand) if known else operand
            self._fields = {**self._fields, name: value}
            self._ops.append(["s", {name: value}])

    def consume(self, i: int) -> None:
        """Delete an inbox row with this transition."""
        self._consumed = (*self._consumed, i)

    def wait(self, subscription: Subscription) -> None:
        """Begin a wait."""
        self._waits = (*self._waits, subscription)

    def end_wait(self, pointer: Pointer) -> None:
        """End a wait that may still be subscribed."""
        self._ended = self._ended or []
        self._ended.append(pointer.id)

    def start(self, item: Item) -> None:
        """Start a sub-workflow with this transition."""
        self._starts = (*self._starts, item)

    def send(self, message: Message) -> None:
        """Send a message with this transition."""
        self._messages = (*self._messages, message)

    def become(self, status: WorkflowStatus, error: Mapping[str, Any] | None = None) -> None:
        """Change the run's status and error."""
        self.status, self.error, self._changed = status.value, error, True
        self._ops.append(["i", self.status, error])

    def clear(self) -> None:
        """Remove every pointer; their waits end."""
        for pointer in self.remaining():
            if "wait" in pointer.extra:
                self.end_wait(pointer)
        self._pointers = {}
        self._cleared = True
        self._ops.append(["c"])

    def decision(self) -> Decision:
        """Return what was decided."""
        waits, ended = self._waits, self._ended
        if waits and ended:
            waits = tuple(wait for wait in waits if wait.pointer not in ended)
        return Decision(
            rows=self.rows,
            status=self.status,
            error=self.error,
            changed=self._changed,
            final=self._changed and self.final,
            consumed=self._consumed,
            subscribe=waits,
            unsubscribe=tuple(ended) if ended else (),
            starts=self._starts,
            messages=self._messages,
        )
