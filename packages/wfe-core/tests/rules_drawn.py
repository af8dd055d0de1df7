"""Definitions drawn at random, for tests of the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random  # noqa: TID251 - chance is what is tested here
from typing import Any, Final, Protocol

import attrs
from hypothesis import strategies as st
from rules_run import SECOND

from wfe.core.definition import TRIGGERS, Block, Kind, Node
from wfe.core.policies import (
    Compensate,
    CompensateThenRetry,
    CompensateThenSuspend,
    Continue,
    ErrorPolicy,
    Fail,
    Retry,
    Suspend,
    Terminate,
)

__all__ = ["Dice", "Drawn", "Luck", "Maker"]

_POLICIES: Final[Sequence[ErrorPolicy]] = (
    Fail(),
    Continue(),
    Compensate(),
    Suspend(),
    Terminate(),
    CompensateThenSuspend(),
    Retry(max_retries=1),
    Retry(max_retries=1, interval=timedelta(0), then=Continue()),
    Retry(max_retries=2, then=Compensate()),
    Retry(max_retries=1, then=Suspend()),
    Retry(max_retries=0, then=Terminate()),
    Retry(max_retries=1, retry_on="timeout"),
    Retry(max_retries=1, retry_on="error", then=Continue()),
    CompensateThenRetry(1),
    CompensateThenRetry(1, then=Continue()),
    CompensateThenRetry(1, then=Suspend()),
)
_TIDY: Final[Sequence[ErrorPolicy | None]] = (None, Continue(), Retry(max_retries=1))


class Luck(Protocol):
    """What decides."""

    def number(self, low: int, high: int) -> int:
        """Return one of *low* to *high*."""
        ...

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of *options*."""
        ...


@attrs.frozen
class Dice:
    """Luck that a seed decides: large cases."""

    random: Random

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def pick(self, options: Sequence[Any]) -> Any:
        return self.random.choice(options)


@attrs.frozen
class Drawn:
    """Luck as hypothesis draws it: small cases, made smaller when they fail."""

    data: st.DataObject

    def number(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def pick(self, options: Sequence[Any]) -> Any:
        return self.data.draw(st.sampled_from(options))


# -- definitions ----------------------------------------------------------------------------------


@attrs.define
class Maker:
    """Draws a definition: a tree of nodes with names of their own."""

    luck: Luck
    left: int
    names: int = 0
    goals: list[list[str]] = attrs.field(factory=list[list[str]])

    def chance(self, out_of: int) -> bool:
        return self.luck.number(0, out_of - 1) == out_of - 1

    def name(self, kind: Kind) -> str:
        self.names += 1
        return f"{kind.value}{self.names}"

    def block(self, depth: int, most: int = 3) -> Block:
        self.goals.append([])
        count = self.luck.number(1, most)
        nodes = tuple(self.node(depth) for _ in range(count) if self.left > 0)
        self.goals.pop()
        return Block(nodes)

    def tidy(self, depth: int) -> Block:
        """Return a block for an undo or a hook: nothing in it goes elsewhere."""
        nodes: list[Node] = []
        for _ in range(self.luck.number(1, 2)):
            policy = self.luck.pick(_TIDY)
            step = Node(name=self.name(Kind.STEP), kind=Kind.STEP, on_error=policy)
            if self.chance(6):
                other = Node(name=self.name(Kind.STEP), kind=Kind.STEP)
                blocks = (Block((step,)), Block((other,)))
                name = self.name(Kind.PARALLEL)
                step = Node(name=name, kind=Kind.PARALLEL, blocks=blocks, on_error=policy)
            nodes.append(step)
        return Block(tuple(nodes))

    def node(self, depth: int, *, goal: bool = True) -> Node:
        self.left -= 1
        kind = self.luck.pick(_DEEP if depth else _FLAT)
        if kind is Kind.GOTO and not any(self.goals):
            kind = Kind.STEP
        name = self.name(kind)
        if goal:
            self.goals[-1].append(name)
        if kind in (Kind.GOTO, Kind.END):
            goals = [each for inside in self.goals for each in inside]
            config = {"target": self.luck.pick(goals)} if kind is Kind.GOTO else {}
            return Node(name=name, kind=kind, config=config)
        made = self.made(name, kind, depth)
        return self.dressed(made)

    def dressed(self, node: Node) -> Node:
        """Draw what every node can have."""
        undo = self.tidy(0) if self.chance(3) else None
        names = ("on_success", "on_failure", "on_error", "on_abort", "ensure")
        hooks = tuple((name, self.tidy(0)) for name in names if self.chance(10))
        if hooks and self.chance(4):  # an empty one still says that errors are no failures
            hooks = (("on_error", Block()), *(h for h in hooks if h[0] != "on_error"))
        policy = self.luck.pick(_POLICIES) if self.chance(3) else None
        timed = node.kind not in (Kind.STEP, Kind.DELAY, Kind.WAIT_FOR) and self.chance(6)
        config = {**node.config, "proceed": bool(self.luck.number(0, 1))}
        return attrs.evolve(
            node,
            undo=undo,
            hooks=hooks,
            on_error=policy,
            timeout=10 * SECOND if timed else None,
            config=config,
        )

    def made(self, name: str, kind: Kind, depth: int) -> Node:
        match kind:
            case Kind.STEP if depth and self.chance(10):
                blocks = tuple(attrs.evolve(self.block(depth - 1), label=i) for i in range(2))
                return Node(name=name, kind=kind, blocks=blocks)
            case Kind.STEP | Kind.DELAY | Kind.WAIT_FOR:
                return Node(name=name, kind=kind)
            case Kind.PARALLEL | Kind.DECIDE:
                count = self.luck.number(1, 3)
                blocks = tuple(self.block(depth - 1, 2) for _ in range(count))
                return Node(name=name, kind=kind, blocks=blocks, config=self.joined(kind, count))
            case Kind.DAG:
                return self.dag(name, depth)
            case _:
                config: dict[str, Any] = {"n": self.luck.number(0, 2)}
                if kind is Kind.FOR_EACH:
                    config |= self.at_a_time()
                return Node(name=name, kind=kind, blocks=(self.block(depth - 1),), config=config)

    def joined(self, kind: Kind, count: int) -> Mapping[str, Any]:
        if kind is Kind.DECIDE:
            return {"n": self.luck.number(0, 2**count - 1)}
        join = self.luck.pick(["all", "all", "any", *range(1, count + 1)])
        return {"join": join, **self.at_a_time()}

    def at_a_time(self) -> dict[str, Any]:
        limit = self.luck.pick([None, None, 1, 2])
        fail_fast = not self.chance(3)
        return {"limit": limit, "fail_fast": fail_fast}

    def dag(self, name: str, depth: int) -> Node:
        self.goals.append([])  # nothing goes to a node of a DAG
        names: list[str] = []
        nodes: list[Node] = []
        for _ in range(self.luck.number(1, 4)):
            node = self.node(depth - 1, goal=False)
            if node.kind in (Kind.GOTO, Kind.END):
                node = Node(name=node.name, kind=Kind.STEP)
            needs = tuple(each for each in names if self.chance(2))
            any_of = tuple(each for each in names if self.chance(5))
            propagates = [each for each in (*needs, *any_of) if self.chance(3)]
            trigger = self.luck.pick(TRIGGERS)
            config = {**node.config, "propagates": propagates}
            nodes.append(
                attrs.evolve(node, needs=needs, needs_any=any_of, trigger=trigger, config=config)
            )
            names.append(node.name)
        self.goals.pop()
        config = {"fail_fast": not self.chance(3)}
        return Node(name=name, kind=Kind.DAG, blocks=(Block(tuple(nodes)),), config=config)


_FLAT: Final = (Kind.STEP, Kind.STEP, Kind.STEP, Kind.DELAY, Kind.WAIT_FOR, Kind.GOTO, Kind.END)
_DEEP: Final = (
    *(Kind.STEP,) * 5,
    *(Kind.SAGA,) * 3,
    *(Kind.PARALLEL,) * 3,
    Kind.SEQUENCE,
    Kind.IF,
    Kind.WHILE,
    Kind.FOR_EACH,
    Kind.FOR_EACH,
    Kind.DECIDE,
    Kind.DAG,
    Kind.DAG,
    Kind.DELAY,
    Kind.WAIT_FOR,
    Kind.GOTO,
    Kind.END,
)
