"""Check lists whose steps wait for one another: ``needs``, and steps that run after failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import attrs

from wfe.core.definition import Block, Kind, Node
from wfe.core.lean import frozen
from wfe.yaml.context import Built, Context
from wfe.yaml.diagnostics import nearest
from wfe.yaml.naming import label_of
from wfe.yaml.scope import Scope
from wfe.yaml.tree import ListNode, MapNode, Scalar

__all__ = ["CheckStep", "after_failure", "check_chain", "check_dag", "is_dag"]

# What is not closed is taken to the end: to look for every quote again would take a square.
_QUOTED: Final = re.compile(r"'(?:\\(?s:.)|[^'\\])*(?:'|\\?\Z)|\"(?:\\(?s:.)|[^\"\\])*(?:\"|\\?\Z)")
_STATUS: Final = re.compile(r"(?<![\w.])(?:success|failure|always)\s*\(\s*\)")
_ONLY_SUCCESS: Final = re.compile(r"success\s*\(\s*\)(?:\s*&&[^|?]*)?")


class CheckStep(Protocol):
    """Checks one step, see :func:`wfe.yaml.steps.check_step`."""

    def __call__(
        self,
        step: MapNode,
        context: Context,
        scope: Scope,
        *,
        behind: Scope | None = None,
        unnamed: str | None = None,
    ) -> Built: ...


def is_dag(steps: Sequence[MapNode]) -> bool:
    """Whether ``needs`` orders the steps of a list."""
    return any("needs" in step.entries or "needs_any" in step.entries for step in steps)


def after_failure(step: MapNode) -> bool:
    """Whether a step's ``when`` decides itself what a failure before it means.

    That is so when it calls ``failure()``, ``always()`` or ``success()``; only ``success() && ...``
    says what holds anyway.
    """
    when = step.get("when")
    if not isinstance(when, Scalar):
        return False
    text = _QUOTED.sub("''", when.value)
    if not _STATUS.search(text):
        return False
    bare = text.strip().removeprefix("${{").removesuffix("}}").strip()
    rest = _ONLY_SUCCESS.fullmatch(bare)
    return rest is None or len(_STATUS.findall(bare)) > 1


def check_chain(
    steps: Sequence[MapNode],
    name: str,
    context: Context,
    scope: Scope,
    check_step: CheckStep,
    unnamed: str | None,
) -> tuple[Block, Scope]:
    """Check a list in which some steps run even after a failure.

    It becomes a graph: each step needs those before it, and what runs after failures begins when
    they have ended somehow.
    """
    before, nodes = scope, list[Node]()
    plain: list[str] = []
    lasting: list[str] = []
    for step in steps:
        late = after_failure(step) and bool(nodes)
        seen = before.doubting(scope, _UNSURE) if late else scope
        built = check_step(step, context, seen, behind=scope, unnamed=unnamed)
        scope = built.scope
        if built.node is None:
            continue
        needs = (*plain, *lasting)
        if late:
            needs = needs[-1:]
            lasting.append(built.node.name)
        else:
            plain, lasting = [built.node.name], []
        nodes.append(_placed(built.node, needs, late=late))
    return _graph(nodes, name, context), scope


_UNSURE: Final = "a step before may have failed, and this one runs even then"


def _placed(
    node: Node, needs: tuple[str, ...], needs_any: tuple[str, ...] = (), *, late: bool
) -> Node:
    trigger = "all_done" if late and needs else "all"
    return attrs.evolve(node, needs=needs, needs_any=needs_any, trigger=trigger)


def _graph(nodes: Sequence[Node], name: str, context: Context) -> Block:
    """Return a graph in which a failure holds up only those that need what failed."""
    dag = Node(
        name=context.free(f"{name}.dag"),
        kind=Kind.DAG,
        blocks=(Block(tuple(nodes)),),
        config={"fail_fast": False, "hidden": True},
    )
    return Block((dag,))


@frozen(kw_only=True)
class _Place:
    """A step of a graph, and the positions of those that it needs.

    Attributes:
        late: Whether it runs even when one of them failed.
    """

    step: MapNode
    needs: tuple[int, ...]
    needs_any: tuple[int, ...]
    late: bool

    @property
    def all(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((*self.needs, *self.needs_any)))


def check_dag(
    steps: Sequence[MapNode],
    name: str,
    context: Context,
    scope: Scope,
    check_step: CheckStep,
    unnamed: str | None,
) -> tuple[Block, Scope]:
    """Check a list that ``needs`` orders."""
    positions = {
        node.value: i
        for i, step in enumerate(steps)
        for kind in ("name", "id")
        if isinstance(node := step.get(kind), Scalar)
    }
    places = [_place(step, positions, context) for step in steps]
    built: dict[int, Built] = {}
    for i in _in_order(places, context):
        before = _behind(places[i], built, scope)
        seen = scope.doubting(before, _UNSURE) if places[i].late and places[i].needs else before
        built[i] = check_step(steps[i], context, seen, behind=before, unnamed=unnamed)
    names = {i: found.node.name for i, found in built.items() if found.node}
    whole = _with_late(places)
    nodes: list[Node] = []
    for i, found in sorted(built.items()):
        if found.node is not None:
            needs = tuple(names[j] for j in whole[i] if j in names)
            any_of = tuple(names[j] for j in places[i].needs_any if j in names)
            nodes.append(_placed(found.node, needs, any_of, late=places[i].late))
    block = _graph(nodes, name, context)
    # What is needed is seen by what needs it: the others see everything.
    inner = {j for place in places for j in place.needs}
    return block, scope.joined(found.scope for i, found in built.items() if i not in inner)


def _place(step: MapNode, positions: Mapping[str, int], context: Context) -> _Place:
    needs = _needs("needs", step, positions, context)
    any_of = _needs("needs_any", step, positions, context)
    late = after_failure(step)
    if late and any_of:
        message = "a step with `needs_any` begins when one of them is done, not after a failure"
        hint = "write `needs`, or remove `success()`, `failure()` and `always()` from `when`"
        at = step.entries["needs_any"].key.span
        context.problems.error("WFE015", at, message, hint)
    for twice in [i for i in any_of if i in needs]:
        name = next(name for name, i in positions.items() if i == twice)
        message = f"`{name}` stands in `needs` and in `needs_any`"
        at = step.entries["needs_any"].value.span
        context.problems.error("WFE040", at, message, "remove it from one of them")
    return _Place(step=step, needs=needs, needs_any=any_of, late=late)


def _needs(
    key: str, step: MapNode, positions: Mapping[str, int], context: Context
) -> tuple[int, ...]:
    node = step.get(key)
    found: list[int] = []
    if node is None or (isinstance(node, ListNode) and not node.items):
        return ()
    for needed in context.reader.names(node, f"`{key}`"):
        if needed.value in positions:
            found.append(positions[needed.value])
            continue
        near = nearest(needed.value, positions)
        hint = f"did you mean `{near}`?" if near else f"steps beside it: {', '.join(positions)}"
        message = f"there is no step `{needed.value}` beside this one"
        if needed.value in context.keys:
            message = f"the step `{needed.value}` does not stand in the same list"
        context.problems.error("WFE040", needed.span, message, hint)
    return tuple(dict.fromkeys(found))


def _behind(place: _Place, built: Mapping[int, Built], scope: Scope) -> Scope:
    """Return what those that a step needs made."""
    known = [built[j].scope for j in place.needs if j in built]
    if len(known) == 1:
        before = attrs.evolve(scope, steps=known[0].steps, data=known[0].data)
    else:
        before = scope.joined(known)
    for j in place.needs_any:
        if j in built:
            doubt = "`needs_any` waits for one of several"
            before = before.doubting(built[j].scope, doubt)
    return before


def _with_late(places: Sequence[_Place]) -> list[tuple[int, ...]]:
    """Return what each step needs, with what the late steps among these need.

    A step whose need ran in spite of a failure does not begin: that failure is its own, too.
    """
    found: dict[int, tuple[int, ...]] = {}

    def of(i: int, around: frozenset[int]) -> tuple[int, ...]:
        if i not in found:
            more = [
                k
                for j in places[i].needs
                if places[j].late and not places[i].late and j not in around
                for k in of_late(j, around | {i})
            ]
            found[i] = tuple(dict.fromkeys((*places[i].needs, *more)))
        return found[i]

    def of_late(j: int, around: frozenset[int]) -> list[int]:
        needs = places[j].needs
        late = [n for n in needs if places[n].late and n not in around]
        return [*needs, *(k for n in late for k in of_late(n, around | {j}))]

    return [of(i, frozenset()) for i in range(len(places))]


def _in_order(places: Sequence[_Place], context: Context) -> list[int]:
    """Return the steps so that each stands behind what it needs; a circle is an error."""
    order: list[int] = []
    waiting = {i: set(place.all) for i, place in enumerate(places)}
    ready = [i for i, needed in waiting.items() if not needed]
    users: dict[int, list[int]] = {}
    for i, needed in waiting.items():
        for j in needed:
            users.setdefault(j, []).append(i)
    for i in ready:  # it grows
        order.append(i)
        for user in users.get(i, []):
            waiting[user].discard(i)
            if not waiting[user]:
                ready.append(user)
    left = [i for i in range(len(places)) if waiting[i]]
    if left:
        _refuse_circle(_circle(left[0], waiting), places, context)
    return order + left


def _refuse_circle(circle: Sequence[int], places: Sequence[_Place], context: Context) -> None:
    path = " -> ".join(f"`{label_of(places[i].step)}`" for i in circle)
    entries = places[circle[0]].step.entries
    key = "needs" if circle[1] in places[circle[0]].needs else "needs_any"
    message = f"these steps wait for each other: {path}"
    context.problems.error("WFE041", entries[key].key.span, message, f"remove one `{key}`")


def _circle(start: int, waiting: Mapping[int, set[int]]) -> list[int]:
    path = [start]
    while True:
        following = min(waiting[path[-1]])
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
