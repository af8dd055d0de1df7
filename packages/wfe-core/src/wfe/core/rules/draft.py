"""A transition in the making: reads like the state, writes rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from wfe.core.definition import Kind, Node
from wfe.core.errors import DefinitionError
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.providers import ActivityStart, Hold, Item, Message, Subscription
from wfe.core.rounds import of_round, round_name
from wfe.core.rules.inputs import Decision, Writes
from wfe.core.rules.plan import CALL, Place, Plan
from wfe.core.rules.state import FORMAT, Log, Pointer, State, Undo, merged_logs

__all__ = ["Draft"]

_FINAL: Final = frozenset(status.value for status in WorkflowStatus if status.final)
_CANCELLED: Final = PointerStatus.CANCELLED.value
_MAX_PUTS: Final = 200_000  # pointers one transition may open; more is a loop without a step
_EMPTY: Final[Mapping[str, Any]] = {}
_NO_ROW: Final[Any] = ()  # nothing can be appended to it: a change must belong to a row
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
        self._ops: list[list[Any]] = _NO_ROW
        self._pointers: dict[int, Pointer | None] = {}
        # Most transitions have none of these: a mapping or list is made when one is needed.
        self._fields: dict[str, Any] = _NO_FIELDS
        self._written: set[str] | None = None
        self._consumed: tuple[int, ...] = ()
        self._waits: tuple[Subscription, ...] = ()
        self._ended: list[int] | None = None
        self._starts: tuple[Item, ...] = ()
        self._messages: tuple[Message, ...] = ()
        self._holds: tuple[Hold, ...] = ()
        self._freed: tuple[int, ...] = ()
        self._offers: tuple[ActivityStart, ...] = ()
        self._withdrawn: tuple[int, ...] = ()
        self._logs: dict[int, Log] | None = None
        self._signals: dict[str, tuple[Any, ...]] | None = None
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

    @property
    def seq(self) -> int:
        """Seq of the row that is being written, or of the last one."""
        return self._state.seq + len(self.rows)

    def rounds(self, pointer: Pointer) -> list[Any]:
        """Return (index, item, step) of each for-each around *pointer*, innermost first."""
        found: list[Any] = []
        here: Pointer | None = pointer
        while here is not None:
            if "rounds" in here.extra:  # it was taken out of where it stood, with what it saw
                return [*found, *here.extra["rounds"]]
            index = here.extra.get("index")
            here = None if here.parent is None else self.pointer(here.parent)
            if here is not None and index is not None and "items" in here.extra:
                found.append([index, here.extra["items"][index], here.step])
        return found

    def path(self, pointer: Pointer) -> tuple[int, ...]:
        """Return the numbers of the for-each items that *pointer* stands in, outermost first."""
        return tuple(index for index, *_ in reversed(self.rounds(pointer)))

    def frame(self, pointer: Pointer) -> Pointer | None:
        """Return the innermost saga that *pointer* stands in (not itself) and that is forward."""
        key = pointer.parent
        while key is not None and (container := self.pointer(key)) is not None:
            if self.place(container).node.kind is Kind.SAGA and "undoing" not in container.extra:
                return container
            key = container.parent
        return None

    def log(self, frame: int) -> Log:
        """Return the undo log of a frame."""
        if self._logs is not None and frame in self._logs:
            return self._logs[frame]
        return self._state.logs.get(frame)

    def signals(self, name: str) -> tuple[Any, ...]:
        """Return the payloads of the signals that nobody waited for yet."""
        if self._signals is not None and name in self._signals:
            return self._signals[name]
        return self._state.signals.get(name, ())

    def records(self, path: tuple[int, ...]) -> dict[str, Any]:
        """Return what the steps of a round, and of rounds inside it, recorded, by field."""
        fields = {**self._state.data, **self._fields}
        return {name: fields[name] for name in of_round(fields, path)}

    def forget_round(self, path: tuple[int, ...]) -> None:
        """Delete what the steps of a round recorded."""
        gone = list(self.records(path))
        if gone:
            self._ops.append(["x", gone])

    def place(self, pointer: Pointer) -> Place:
        """Return where the pointer's node stands in the definition."""
        return CALL if "call" in pointer.extra else self.plan.places[pointer.step]

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
            if self.plan.rounds:
                info = self._in_round(pointer, info)
            row = [FORMAT, kind, pointer.id, pointer.step, pointer.attempt, info, self._ops]
            self.rows.append(row)

    def _in_round(
        self, pointer: Pointer, info: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Add the name of the round that *pointer* stands in, when it stands in one."""
        place = self.plan.places.get(pointer.step)
        if place is None or not place.looped:
            return info
        name = round_name(self.rounds(pointer))
        return {**(info or {}), "round": name} if name else info

    def next_input(self) -> None:
        """Another input is decided on: what it changes belongs to rows of its own."""
        self._ops = _NO_ROW

    def note(self, kind: str, step: str, info: Mapping[str, Any] | None = None) -> None:
        """Begin a row about a node that has no pointer."""
        self._ops = []
        self.rows.append([FORMAT, kind, None, step, None, info, self._ops])

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
        """Remove a pointer, and with it whatever it waits for or holds."""
        self._pointers[pointer.id] = None
        self._ops.append(["d", pointer.id])
        if self._logs is not None:
            self._logs.pop(pointer.id, None)
        if pointer.extra:
            self.let_go(pointer)

    def let_go(self, pointer: Pointer) -> None:
        """End the wait, the activity and the places of a pointer, if it has any."""
        extra = pointer.extra
        if "wait" in extra:
            self.end_wait(pointer)
        if "activity" in extra:
            self._withdrawn = (*self._withdrawn, pointer.id)
        if "held" in extra or "gate" in extra:
            self._freed = (*self._freed, pointer.id)

    def move(
        self, pointer: Pointer, parent: int | None, status: str, extra: Mapping[str, Any]
    ) -> Pointer:
        """Hand a pointer to another container, with another status and other extras."""
        p = Pointer(pointer.id, pointer.step, parent, status, pointer.attempt, None, extra)
        self._pointers[p.id] = p
        self._ops.append(["p", p.id, p.step, parent, status, p.attempt, None, dict(extra) or 0])
        return p

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

    def keep_only(self, names: Collection[str]) -> None:
        """Delete every data field but *names*."""
        gone = [name for name in {**self._state.data, **self._fields} if name not in names]
        if gone:
            self._ops.append(["x", gone])

    def overwrite(self, name: str, value: Any) -> None:
        """Set one data field, whatever reducer it has."""
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

    def push(self, frame: int, pointer: Pointer) -> None:
        """Note in the undo log of *frame* that *pointer* is to be undone."""
        entry = Undo(self.seq, pointer.id, pointer.step, self.rounds(pointer))
        self._log()[frame] = (entry, self.log(frame))
        self._ops.append(["u", frame, entry.pointer, entry.step, entry.rounds])

    def pop(self, frame: int) -> None:
        """Remove the top of the undo log of *frame*."""
        log = self.log(frame)
        self._log()[frame] = log[1] if log else None
        self._ops.append(["v", frame])

    def merge_log(self, source: int, target: int) -> None:
        """Hand the undo log of one frame to another."""
        merged = merged_logs(self.log(source), self.log(target))
        self._log().update({source: None, target: merged})
        self._ops.append(["m", source, target])

    def _log(self) -> dict[int, Log]:
        if self._logs is None:
            self._logs = {}
        return self._logs

    def queue_signal(self, name: str, payload: Any) -> None:
        """Keep a signal that nobody waits for."""
        self._signals = {**(self._signals or {}), name: (*self.signals(name), payload)}
        self._ops.append(["q", name, payload])

    def take_signal(self, name: str) -> Any:
        """Remove the first signal of this name and return its payload."""
        first, *rest = self.signals(name)
        self._signals = {**(self._signals or {}), name: tuple(rest)}
        self._ops.append(["w", name])
        return first

    def restore(self, pointers: list[Any], logs: Mapping[str, Any], following: int) -> None:
        """Put other pointers and undo logs in place of all; time begins anew."""
        self._pointers = {row[0]: Pointer(*row) for row in pointers}
        self._cleared = True
        self._ops.append(["z", pointers, dict(logs), following, self.now])

    def ask_place(self, hold: Hold) -> None:
        """Ask for a place under a limit."""
        self._holds = (*self._holds, hold)

    def offer(self, activity: ActivityStart) -> None:
        """Offer work to external workers."""
        self._offers = (*self._offers, activity)

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

    def become(
        self,
        status: WorkflowStatus,
        error: Mapping[str, Any] | None = None,
        origin: tuple[int, int | None] | None = None,
    ) -> None:
        """Change the run's status and error; *origin* is where a retry begins."""
        self.status, self.error, self._changed = status.value, error, True
        op: list[Any] = ["i", self.status, error]
        self._ops.append(op if origin is None else [*op, list(origin)])

    def clear(self) -> None:
        """Remove every pointer; their waits end."""
        for pointer in self.remaining():
            if "wait" in pointer.extra:
                self.end_wait(pointer)
        self._pointers = {}
        self._logs = {}
        self._cleared = True
        self._ops.append(["c"])

    def decision(self) -> Decision:
        """Return what was decided."""
        waits, ended = self._waits, self._ended
        if waits and ended:
            waits = tuple(wait for wait in waits if wait.pointer not in ended)
        holds, offers = self._holds, self._offers
        if holds and self._freed:
            holds = tuple(hold for hold in holds if self._wanted(hold.pointer, "gate"))
        if offers and self._withdrawn:
            offers = tuple(each for each in offers if self._wanted(each.pointer, "activity"))
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
            hold=holds,
            unhold=self._freed,
            activities=offers,
            end_activities=self._withdrawn,
        )

    def _wanted(self, key: int, what: str) -> bool:
        pointer = self.pointer(key)
        return pointer is not None and what in pointer.extra
