"""Definitions drawn from a seed, and the bodies of their steps, which watch over how they run."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - only its type: the source is a parameter
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from wfe.core.definition import (
    TRIGGERS,
    Block,
    Call,
    Kind,
    Limit,
    Node,
    Value,
    WorkflowDefinition,
)
from wfe.core.policies import Continue, ErrorPolicy, Fail, Retry, Suspend, Terminate
from wfe.core.steps import ExecutionResult, StepExecutionContext
from wfe.testing.simulator.around import conflict, dressed, of_saga

__all__ = ["KEYS", "TOPICS", "Maker", "Spec"]

Context = StepExecutionContext[Any]
TOPICS: Final = ("paid", "shipped")
KEYS: Final = ("a", "b")
_SECOND: Final = 1_000_000  # µs


@attrs.frozen(kw_only=True)
class Spec:
    """How the body of one step behaves.

    Attributes:
        kind: ``plain``; ``sleep``, ``persist``, ``wait`` and ``branch`` return such a result once;
            ``blocked`` runs until it is cancelled or the users tire; ``stubborn`` needs time to
            end when it is cancelled.
        takes: Seconds that it runs: the most.
        fails: Attempts that fail.
        fatal: Whether its error says that another attempt is no use.
    """

    name: str
    kind: str = "plain"
    takes: float = 0.0
    fails: int = 0
    fatal: bool = False


class Maker:
    """Draws definitions.

    Attributes:
        specs: Of every step that has a body, by its name.
    """

    def __init__(self, rng: random.Random, body: Callable[[Context, Spec], Any]) -> None:
        """Draw from *rng*; every body calls *body*."""
        self.specs: dict[str, Spec] = {}
        self._rng = rng
        self._body = body
        self._named = 0
        self._code: dict[str, Any] = {}
        self._below: list[str] = []
        self._left = 0
        self._sagas = 0
        self._loops: Counter[tuple[str, int]] = Counter()

    def definitions(self, number: int) -> Mapping[str, WorkflowDefinition]:
        """Return *number* definitions; later ones may start earlier ones as sub-workflows."""
        made: dict[str, WorkflowDefinition] = {}
        for k in range(number):
            id = f"flow{k}"
            self._code, self._left = {}, self._rng.randrange(2, 11)
            root = self._block(0)
            made[id] = WorkflowDefinition(
                id=id,
                root=root,
                code=self._code,
                default_error=self._policy() if self._rng.random() < 0.5 else None,
                timeout=self._rng.choice([None] * 9 + [30 * _SECOND]),
                limits=self._limits() if self._rng.random() < 0.15 else (),
            )
            self._below.append(id)
        return made

    def _limits(self) -> tuple[Limit, ...]:
        return (Limit(None, self._rng.randrange(1, 4), None, conflict(self._rng)),)

    def _block(self, depth: int) -> Block:
        most = 4 if depth == 0 else 2
        nodes = [self._node(depth) for _ in range(self._rng.randrange(1, most + 1))]
        return Block(tuple(nodes))

    def _name(self, kind: str) -> str:
        self._named += 1
        return f"{kind}{self._named}"

    def _node(self, depth: int) -> Node:
        return dressed(self._bare(depth), self._rng, self._plain, saga=self._sagas > 0)

    def _bare(self, depth: int) -> Node:
        self._left -= 1
        if depth >= 3 or self._left <= 0:
            return self._step()
        kinds = [
            self._step, self._step, self._step, self._step, self._delay, self._wait_for,
            self._child, self._signal, self._activity, self._approval,
            *([self._step] if depth >= 2 else []),
        ]  # fmt: skip
        containers = [
            self._sequence, self._if, self._while, self._for_each, self._parallel, self._dag,
            self._saga, self._saga, self._recur,
        ]  # fmt: skip
        if self._rng.random() < 0.4:
            return self._rng.choice(containers)(depth)
        return self._rng.choice(kinds)()

    # -- leaves

    def _policy(self) -> ErrorPolicy:
        rng = self._rng
        ends: list[Any] = [Fail(), Fail(), Continue(), Suspend(), Terminate()]
        if rng.random() < 0.6:
            interval = timedelta(milliseconds=rng.choice([0, 300, 2000]))
            jitter = rng.choice([0.0, 0.5])
            most = rng.choice([1, 2, 3])
            on = rng.choice([(), (), (), "timeout", "error"])
            then = rng.choice(ends)
            return Retry(most, interval, jitter=jitter, then=then, retry_on=on)
        policy: ErrorPolicy = rng.choice(ends)
        return policy

    def _step(self) -> Node:
        rng = self._rng
        name = self._name("s")
        kind = rng.choice(
            ["plain"] * 10 + ["sleep", "persist", "wait", "blocked", "blocked", "stubborn"]
        )
        fails = rng.choice([0] * 7 + [1, 2, 99])
        takes = rng.choice([0.0, 0.0, 0.0, 0.05, 1.0, 8.0])
        fatal = fails > 0 and rng.random() < 0.2
        spec = Spec(name=name, kind=kind, takes=takes, fails=fails, fatal=fatal)
        self.specs[name] = spec
        self._code[f"{name}/body"] = self._made(spec)
        run_if = None
        if rng.random() < 0.1:
            run_if = Call()
            self._code[f"{name}/run_if"] = self._maybe(0.5)
        return Node(
            name=name,
            kind=Kind.STEP,
            run_if=run_if,
            config={"output": rng.choice(["x", "y", "z"])},
            on_error=self._policy() if rng.random() < 0.4 else None,
            timeout=rng.choice([None] * 7 + [2 * _SECOND]),
        )

    def _plain(self, kind: str) -> Node:
        """Return a step that fails at most once."""
        rng = self._rng
        name = self._name(kind)
        spec = Spec(name=name, takes=rng.choice([0.0, 0.0, 1.0]), fails=rng.choice([0, 0, 0, 0, 1]))
        self.specs[name] = spec
        self._code[f"{name}/body"] = self._made(spec)
        return Node(name=name, kind=Kind.STEP)

    def _made(self, spec: Spec) -> Callable[[Context], Any]:
        async def body(ctx: Context) -> Any:
            return await self._body(ctx, spec)

        return body

    def _delay(self) -> Node:
        micros = self._rng.choice([0, 200_000, 3 * _SECOND, 20 * _SECOND])
        return Node(name=self._name("d"), kind=Kind.DELAY, exprs=(("duration", Value(micros)),))

    def _wait_for(self) -> Node:
        rng = self._rng
        config: dict[str, Any] = {"event": rng.choice(TOPICS), "output": "event"}
        if rng.random() < 0.4:
            config["timeout"] = rng.choice([_SECOND, 10 * _SECOND])
        return Node(
            name=self._name("w"),
            kind=Kind.WAIT_FOR,
            exprs=(("key", Value(rng.choice(KEYS))),),
            config=config,
            on_error=Continue() if rng.random() < 0.5 else None,
        )

    def _asking(self, kind: Kind, prefix: str, **config: Any) -> Node:
        rng = self._rng
        if rng.random() < 0.4:
            config["timeout"] = rng.choice([_SECOND, 10 * _SECOND])
        policy = Continue() if rng.random() < 0.5 else None
        return Node(name=self._name(prefix), kind=kind, config=config, on_error=policy)

    def _signal(self) -> Node:
        return self._asking(Kind.WAIT_FOR, "g", event="go", scope="run", output="signal")

    def _activity(self) -> Node:
        node = self._asking(Kind.ACTIVITY, "a", name="review", output="review")
        return attrs.evolve(node, exprs=(("parameters", Value({})),))

    def _approval(self) -> Node:
        options = ["yes", "no"]
        return self._asking(Kind.APPROVAL, "q", prompt="Release?", options=options, output="answer")

    def _child(self) -> Node:
        if not self._below:
            return self._step()
        rng = self._rng
        return Node(
            name=self._name("c"),
            kind=Kind.SUB_WORKFLOW,
            config={"definition": rng.choice(self._below), "version": None, "output": "child"},
            exprs=(("data", Value({})),),
            timeout=rng.choice([None, None, 10 * _SECOND]),
            on_error=self._policy() if rng.random() < 0.5 else None,
        )

    # -- containers

    def _container(
        self, kind: Kind, blocks: tuple[Block, ...], name: str | None = None, **more: Any
    ) -> Node:
        rng = self._rng
        return Node(
            name=name or self._name(kind.value),
            kind=kind,
            blocks=blocks,
            on_error=self._policy() if rng.random() < 0.3 else None,
            timeout=rng.choice([None] * 7 + [5 * _SECOND]),
            **more,
        )

    def _sequence(self, depth: int) -> Node:
        return self._container(Kind.SEQUENCE, (self._block(depth + 1),))

    def _saga(self, depth: int) -> Node:
        self._sagas += 1
        nodes = self._block(depth + 1).nodes
        if self._rng.random() < 0.4:  # two steps to undo, and a reason
            nodes = (*nodes, self._undoable(0), self._undoable(0), self._undoable(99))
        self._sagas -= 1
        policy = of_saga(self._rng)
        return Node(
            name=self._name("saga"), kind=Kind.SAGA, blocks=(Block(nodes),), on_error=policy
        )

    def _undoable(self, fails: int) -> Node:
        name = self._name("v")
        spec = self.specs[name] = Spec(name=name, fails=fails)
        self._code[f"{name}/body"] = self._made(spec)
        return Node(name=name, kind=Kind.STEP, undo=Block((self._plain("u"),)))

    def _recur(self, depth: int) -> Node:
        name = self._name("recur")
        self._code[f"{name}/until"] = self._often(self._rng.randrange(1, 3), done=True)
        interval = Value(self._rng.choice([0, _SECOND]))
        blocks = (self._block(depth + 1),)
        exprs = (("interval", interval), ("until", Call()))
        return self._container(Kind.RECUR, blocks, name, exprs=exprs)

    def _if(self, depth: int) -> Node:
        rng = self._rng
        name = self._name("if")
        self._code[f"{name}/condition"] = self._maybe(0.6)
        blocks = tuple(self._block(depth + 1) for _ in range(rng.randrange(1, 3)))
        return self._container(Kind.IF, blocks, name, exprs=(("condition", Call()),))

    def _while(self, depth: int) -> Node:
        name = self._name("while")
        self._code[f"{name}/condition"] = self._often(self._rng.randrange(1, 4), done=False)
        blocks = (self._block(depth + 1),)
        return self._container(Kind.WHILE, blocks, name, exprs=(("condition", Call()),))

    def _maybe(self, often: float) -> Callable[[Any], bool]:
        """Return a condition that holds as *often* as that."""

        def condition(_data: Any) -> bool:
            return self._rng.random() < often

        return condition

    def _often(self, most: int, *, done: bool) -> Callable[[Any, Context], bool]:
        """Return a condition that becomes *done* after *most* times."""

        def condition(_data: Any, ctx: Context) -> bool:
            key = (ctx.instance.id, ctx.pointer.id)
            self._loops[key] += 1
            return (self._loops[key] > most) is done

        return condition

    def _for_each(self, depth: int) -> Node:
        rng = self._rng
        items = list(range(rng.randrange(0, 5)))
        config = {
            "limit": rng.choice([None, None, 1, 2]),
            "sequential": rng.random() < 0.2,
            "fail_fast": rng.random() < 0.7,
        }
        block = (self._block(depth + 1),)
        return self._container(
            Kind.FOR_EACH, block, exprs=(("items", Value(items)),), config=config
        )

    def _parallel(self, depth: int) -> Node:
        rng = self._rng
        number = rng.randrange(2, 5)
        config = {
            "join": rng.choice(["all", "all", "any", rng.randrange(1, number + 1)]),
            "limit": rng.choice([None, None, 1, 2]),
            "fail_fast": rng.random() < 0.7,
        }
        blocks = tuple(self._block(depth + 1) for _ in range(number))
        return self._container(Kind.PARALLEL, blocks, config=config)

    def _dag(self, depth: int) -> Node:
        rng = self._rng
        nodes: list[Node] = []
        for _ in range(rng.randrange(2, 5)):
            names = [node.name for node in nodes]
            needs = tuple(rng.sample(names, rng.randrange(0, len(names) + 1)))
            rest = [name for name in names if name not in needs]
            any_of = tuple(rest) if rest and rng.random() < 0.3 else ()
            node = self._step() if rng.random() < 0.8 else self._node(depth + 1)
            trigger = rng.choice([*["all"] * len(TRIGGERS), *TRIGGERS])
            nodes.append(attrs.evolve(node, needs=needs, needs_any=any_of, trigger=trigger))
        config = {"fail_fast": rng.random() < 0.7}
        return self._container(Kind.DAG, (Block(tuple(nodes)),), config=config)


class BrokenError(Exception):
    """What a body needs does not work: the step errs, it does not fail."""

    errored = True


async def behave(ctx: Context, spec: Spec, rng: random.Random, calm: Callable[[], bool]) -> Any:
    """Do what *spec* says; when all is *calm*, nothing fails or is blocked any more."""
    if spec.takes:
        await asyncio.sleep(rng.random() * spec.takes)
    if spec.kind == "blocked":
        while not calm():  # noqa: ASYNC110 - the users tire at a time of their own
            await asyncio.sleep(5)
    if ctx.attempt < spec.fails and not calm():
        if spec.fatal:
            return ExecutionResult.fail("fatal", retryable=False)
        problem = f"{spec.name} failed at attempt {ctx.attempt}"
        raise BrokenError(problem) if spec.fails % 2 else ValueError(problem)
    match spec.kind:
        case "sleep" if ctx.persistence_data is None:
            return ExecutionResult.sleep(timedelta(seconds=rng.choice([0, 1, 7])), {"slept": 1})
        case "persist" if ctx.persistence_data is None:
            return ExecutionResult.persist({"kept": 1})
        case "wait" if ctx.event is None:
            return ExecutionResult.wait_for_event(rng.choice(TOPICS), rng.choice(KEYS))
        case _:
            return rng.randrange(100)
