"""Why the steps of a run are where they are: from its definition, history and data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.lean import frozen
from wfe.core.models import ExecutionPointer, HistoryEntry, WorkflowInstance, WorkflowStatus
from wfe.host.cli.attempts import attempts_of, policy_text, upcoming
from wfe.host.cli.drawing import GLYPHS, STATUS_GLYPHS, clock_time, duration
from wfe.host.cli.model import Picture, hidden
from wfe.host.cli.reasons import condition, expression, readings, when_of
from wfe.host.cli.visits import ACTIVE, OVER, State, Visit

__all__ = ["Case", "of_run", "of_step"]

_EXECUTIONS: Final = 10  # of one step, that are told of one by one


@frozen
class _Where:
    """Where a node stands.

    Attributes:
        parent: ``None`` at the top.
        block: That it is in; its *number* among the parent's, ``None`` of a hook or an undo.
        before: The node that runs before it.
        hook: Name of the hook (or ``compensate``) that it belongs to.
    """

    parent: Node | None
    block: Block
    number: int | None
    before: Node | None
    hook: str | None = None


@frozen(kw_only=True)
class Case:
    """A run with all that is known of it, as of *now*."""

    instance: WorkflowInstance[Any]
    definition: WorkflowDefinition
    picture: Picture
    history: tuple[HistoryEntry, ...]
    now: datetime

    def where(self) -> dict[str, _Where]:
        """Return where each node stands."""
        return dict(_places(self.definition.root, None, 0, None))

    def node(self, name: str) -> Node:
        """Return the node called *name*, one that there is."""
        return next(node for node in self.definition.walk() if node.name == name)

    def state(self, node: Node) -> State:
        """Return where a node stands."""
        return self.picture.root.state(node)

    def at(self, when: datetime) -> str:
        """Return a time for people: on the clock and from now."""
        left = (when - self.now).total_seconds()
        far = f"in {duration(left)}" if left >= 0 else f"{duration(-left)} ago"
        return f"{clock_time(when, self.now)} ({far})"


def _places(
    block: Block, parent: Node | None, number: int | None, hook: str | None
) -> Iterator[tuple[str, _Where]]:
    before: Node | None = None
    for node in block.nodes:
        yield node.name, _Where(parent, block, number, before, hook)
        if not (parent is not None and parent.kind is Kind.DAG):
            before = node
        for position, inner in enumerate(node.blocks):
            yield from _places(inner, node, position, None)
        if node.undo is not None:
            yield from _places(node.undo, node, None, "compensate")
        for name, inner in node.hooks:
            yield from _places(inner, node, None, name)


# -- a run


def of_run(case: Case) -> list[str]:
    """Return why each step of the run is where it is, a line each."""
    instance = case.instance
    where = case.where()
    lines = [
        (
            f"{STATUS_GLYPHS[instance.status]} {instance.definition} v{instance.version},"
            f" run {instance.id}, {instance.status}"
        )
    ]
    if instance.error is not None:
        step = f"{instance.error.step}: " if instance.error.step else ""
        lines.append(f"  because {step}{instance.error.message}")
    for node in case.definition.walk():
        if hidden(node):
            continue
        depth = _depth(where, node.name)
        state = case.state(node)
        why = "; ".join(_short(case, node, state, where[node.name]))
        lines.append(f"{'  ' * (depth + 1)}{GLYPHS[state]} {node.name}  {why}".rstrip())
    lines.append(f"more about one: wfe explain {instance.id} STEP")
    return lines


def _depth(where: Mapping[str, _Where], name: str) -> int:
    depth, parent = 0, where[name].parent
    while parent is not None:
        depth += not hidden(parent)
        parent = where[parent.name].parent
    return depth


def _short(case: Case, node: Node, state: State, where: _Where) -> list[str]:
    """Return the one or two things that matter of a step."""
    visits = list(case.picture.root.step(node.name).visits.values())
    match state:
        case State.PENDING:
            return _not_begun(case, node, where)[:1]
        case State.SKIPPED:
            return [_skipped(case, node, visits[-1] if visits else None)]
        case State.FAILED if visits and not node.blocks:
            return [f"failed: {visits[-1].note}"]
        case State.COMPLETE:
            cached = [visit.cached for visit in visits if visit.cached]
            return [f"cached: {cached[-1]}"] if cached else [_ran(node, visits)]
        case state if state in ACTIVE:
            return _active(case, node)[:2] or ["runs"]
        case _:
            return [state.value]


def _ran(node: Node, visits: list[Visit]) -> str:
    tried = max((visit.attempt for visit in visits), default=0)
    again = f", {tried + 1} attempts" if tried else ""
    times = f", {len(visits)} times" if len(visits) > 1 else ""
    decided = condition(node)
    if decided is not None:
        word, expr = decided
        return f"{word}: {expression(expr)}{times}"
    why = "" if node.run_if is None else f"; when: {when_of(node)} was true"
    return f"complete{again}{times}{why}"


# -- a step


def of_step(case: Case, name: str) -> list[str]:
    """Return all that is known about why one step is where it is."""
    node = case.node(name)
    where = case.where()[name]
    state = case.state(node)
    step = case.picture.root.step(name)
    visits = list(step.visits.values())
    kind = node.config.get("type", node.kind.value)
    lines = [f"{GLYPHS[state]} {name}  ({kind}, {state})"]
    lines += [f"  place: {line}" for line in _place(where)]
    lines += _conditions(case, node)
    if not visits:
        lines += [f"  {line}" for line in _not_begun(case, node, where)]
    for visit in visits[-_EXECUTIONS:]:
        lines += _execution(case, node, visit, several=len(visits) > 1)
    if node.kind is Kind.STEP or node.on_error is not None:
        policy = node.on_error or case.definition.default_error
        lines.append(f"  failure policy: {policy_text(policy)}")
    timeout = node.timeout or (case.definition.default_timeout if not node.blocks else None)
    if timeout is not None:
        lines.append(f"  time limit of an attempt: {duration(timeout / 1e6)}")
    return lines


def _place(where: _Where) -> list[str]:
    parent = where.parent
    if where.hook is not None and parent is not None:
        return [f"{where.hook} of {parent.name}"]
    told: list[str] = []
    if parent is not None and not hidden(parent):
        told.append(f"inside {parent.name}")
    if where.before is not None:
        told.append(f"after {where.before.name}")
    return [", ".join(told)] if told else []


def _conditions(case: Case, node: Node) -> list[str]:
    """Return the conditions of a step with the values that they read."""
    lines: list[str] = []
    if node.run_if is not None:
        lines.append(f"  when: {when_of(node)}")
        lines += [f"    {each}" for each in readings(node.run_if, case.instance.data)]
    decided = condition(node)
    if decided is not None:
        word, expr = decided
        lines.append(f"  {word}: {expression(expr)}")
        lines += [f"    {each}" for each in readings(expr, case.instance.data)]
    for label, names in (("needs", node.needs), ("needs any of", node.needs_any)):
        if names:
            told = ", ".join(f"{name} ({case.state(case.node(name))})" for name in names)
            lines.append(f"  {label}: {told}")
    return lines


def _execution(case: Case, node: Node, visit: Visit, *, several: bool) -> list[str]:
    """Return what is known of one execution: its attempts, what it waits for, how it ended."""
    entries = [e for e in case.history if e.pointer == visit.pointer and e.step == node.name]
    named = f" [{visit.round}]" if visit.round else f" #{visit.number}"
    lines = [f"  execution{named}: {visit.state}"] if several else []
    indent = "    " if several else "  "
    if visit.state is State.SKIPPED:
        lines.append(indent + _skipped(case, node, visit))
    if visit.cached:
        lines.append(f"{indent}its outputs came from the cache: {visit.cached}")
    if visit.child is not None:
        lines.append(f"{indent}runs as run {visit.child}: wfe explain {visit.child}")
    lines += [indent + line for line in _attempts(case, visit, entries)]
    if visit.state in ACTIVE:
        lines += [indent + line for line in _active(case, node, visit.pointer)]
    return lines


def _attempts(case: Case, visit: Visit, entries: list[HistoryEntry]) -> Iterator[str]:
    for attempt in attempts_of(entries):
        began = clock_time(attempt.started, case.now) if attempt.started is not None else "?"
        both = attempt.started is not None and attempt.ended is not None
        took = f", {duration((attempt.ended - attempt.started).total_seconds())}" if both else ""  # type: ignore[operator]
        ended = f"failed: {attempt.error}" if attempt.error is not None else "complete"
        if not (visit.cached or visit.child):
            yield f"attempt {attempt.number}: {began}{took}, {ended}"


def _skipped(case: Case, node: Node, visit: Visit | None) -> str:
    if visit is not None and visit.note:
        return f"skipped: {visit.note}"
    if node.run_if is None:
        return "skipped: nothing could make it begin"
    values = readings(node.run_if, case.instance.data)
    told = f" ({', '.join(values)})" if values else ""
    return f"skipped: when was false: {when_of(node)}{told}"


def _active(case: Case, node: Node, pointer: int | None = None) -> list[str]:
    """Return what the live places of a step do or wait for."""
    found = [
        each
        for each in case.instance.pointers
        if each.step == node.name and pointer in {None, each.id}
    ]
    return [line for each in found for line in _live(case, node, each)]


def _live(case: Case, node: Node, pointer: ExecutionPointer) -> Iterator[str]:
    if pointer.waits_for:
        yield _waits(case, pointer.waits_for, pointer.wake_at)
    elif pointer.wake_at is not None and pointer.attempt and not node.blocks:
        yield from _schedule(case, node, pointer)
    elif pointer.wake_at is not None:
        word = "gives up" if node.blocks else "sleeps until"
        yield f"{word} {case.at(pointer.wake_at)}"
    else:
        again = f", attempt {pointer.attempt + 1}" if pointer.attempt else ""
        drives = case.instance.status is WorkflowStatus.SUSPENDED
        yield "begins when the run is resumed" if drives else f"{pointer.status.value}{again}"


def _waits(case: Case, waits: Mapping[str, Any], wake: datetime | None) -> str:
    run = case.instance.id
    until = f", gives up {case.at(wake)}" if wake is not None else ""
    if "event" in waits:
        key = f" {waits['key']}" if waits.get("key") else ""
        return f"waits for event {waits['event']}{key}{until}: wfe publish {waits['event']}{key}"
    if "signal" in waits:
        return f"waits for signal {waits['signal']}{until}: wfe signal {run} {waits['signal']}"
    if "approval" in waits:
        options = "|".join(map(str, waits.get("options", ())))
        return f"waits for an answer to {waits['approval']!r}{until}: wfe approve {run} {options}"
    if "child" in waits:
        return f"waits for run {waits['child']}: wfe explain {waits['child']}"
    if "limits" in waits:
        keys = ", ".join(map(str, waits["limits"]))
        return f"waits for a free place under the limit {keys}{until}"
    return f"waits for {', '.join(f'{key} {value}' for key, value in waits.items())}{until}"


def _schedule(case: Case, node: Node, pointer: ExecutionPointer) -> Iterator[str]:
    """Tell the attempts to come: the next one's time is stored, later ones follow the policy."""
    assert pointer.wake_at is not None
    policy = node.on_error or case.definition.default_error
    visit = case.picture.root.step(node.name).visits.get(pointer.id)
    first = visit.started if visit is not None else None
    for number, at, spread in upcoming(policy, pointer.attempt + 1, pointer.wake_at, first):
        about = f" ±{duration(spread.total_seconds())}" if spread else ""
        earliest = "" if number == pointer.attempt + 1 else ", if the one before fails at once"
        yield f"attempt {number}: {case.at(at)}{about}{earliest}"


def _not_begun(case: Case, node: Node, where: _Where) -> list[str]:
    """Return why a step has not begun."""
    parent = where.parent
    if node.needs or node.needs_any:
        missing = [
            f"{name} ({case.state(case.node(name))})"
            for name in (*node.needs, *node.needs_any)
            if case.state(case.node(name)) is not State.COMPLETE
        ]
        if missing:
            return [f"not begun: needs {', '.join(missing)}"]
    if where.before is not None and case.state(where.before) is not State.COMPLETE:
        state = case.state(where.before)
        if state not in {State.SKIPPED, State.PENDING}:
            return [f"not begun: {where.before.name} comes before it and is {state}"]
    if where.hook is not None and parent is not None:
        return [f"not run: {where.hook} of {parent.name}, which is {case.state(parent)}"]
    if parent is not None and case.state(parent) in OVER:
        return [_not_taken(case, parent)]
    if case.instance.status.final:
        return [f"not begun: the run is {case.instance.status}"]
    if where.before is not None and case.state(where.before) is not State.COMPLETE:
        return [f"not begun: comes after {where.before.name}"]
    if parent is not None and case.state(parent) is State.PENDING:
        return [f"not begun: stands in {parent.name}"]
    # That a body began is not recorded: what makes a step due is its start.
    return ["due: it runs now, or as soon as a host takes the run"]


def _not_taken(case: Case, parent: Node) -> str:
    state = case.state(parent)
    decided = condition(parent)
    if state is State.COMPLETE and decided is not None:
        word, expr = decided
        values = readings(expr, case.instance.data)
        told = f" ({', '.join(values)})" if values else ""
        return f"not taken: {word} {expression(expr)} of {parent.name} chose otherwise{told}"
    return f"not begun: {parent.name}, around it, is {state}"
