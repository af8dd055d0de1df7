"""LangGraph with a checkpointer: a node is a step, and each super-step ends with a checkpoint."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks.peers.harness import (
    FIVE,
    RECOVER_SECONDS,
    RECOVER_STEPS,
    Job,
    Report,
    job,
    note,
    one_by_one,
    repeated,
)

POOL = 20


class State(TypedDict):
    done: Annotated[int, operator.add]
    workflow: int


async def noop(_: State) -> dict[str, int]:
    return {"done": 1}


async def wait(_: State) -> dict[str, int]:
    interrupt("go?")
    return {"done": 1}


def slow(i: int, log: str) -> Any:
    async def step(state: State) -> dict[str, int]:
        note(log, "begin", state["workflow"], i)
        await asyncio.sleep(RECOVER_SECONDS)
        note(log, "end", state["workflow"], i)
        return {"done": 1}

    return step


class Graphs:
    """Compiles and runs graphs over one saver; every checkpoint is awaited (durability sync)."""

    def __init__(self, saver: Any) -> None:
        self._saver = saver
        self._threads = 0

    def chain(self, *steps: Any) -> Any:
        graph = StateGraph(State)
        for i, step in enumerate(steps):
            graph.add_node(f"n{i}", step)
            graph.add_edge(f"n{i - 1}" if i else START, f"n{i}")
        graph.add_edge(f"n{len(steps) - 1}", END)
        return graph.compile(checkpointer=self._saver)

    def fan(self, n: int) -> Any:
        graph = StateGraph(State)
        graph.add_node("step", noop)
        each = [Send("step", {"done": 0, "workflow": 0})] * n
        graph.add_conditional_edges(START, lambda _: each, ["step"])
        graph.add_edge("step", END)
        return graph.compile(checkpointer=self._saver)

    async def known(self, thread: str) -> bool:
        config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        return await self._saver.aget_tuple(config) is not None

    async def start(self, graph: Any) -> None:
        self._threads += 1
        await self.run(graph, f"t{self._threads}", {"done": 0, "workflow": 0})

    async def run(self, graph: Any, thread: str, given: Any) -> None:
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 10_000}
        await graph.ainvoke(given, config, durability="sync")


async def event(graphs: Graphs, report: Report, n: int) -> None:
    graph = graphs.chain(wait)
    for i in range(n):
        await graphs.run(graph, f"wait{i}", {"done": 0, "workflow": i})
    await one_by_one(report, range(n), lambda i: graphs.run(graph, f"wait{i}", Command(resume="x")))


async def recover(graphs: Graphs, asked: Job) -> None:
    """Begin or go on with the threads, whose names the application has to know itself."""
    graph = graphs.chain(*(slow(i, asked.log) for i in range(RECOVER_STEPS)))

    async def drive(i: int) -> None:
        begun = asked.again and await graphs.known(f"crash{i}")
        await graphs.run(graph, f"crash{i}", None if begun else {"done": 0, "workflow": i})

    if not asked.again:
        for i in range(asked.n):
            note(asked.log, "accepted", i)
    await asyncio.gather(*(drive(i) for i in range(asked.n)))
    await asyncio.Event().wait()  # to be killed


async def run(graphs: Graphs, asked: Job, report: Report) -> None:
    n = asked.n
    match asked.workload:
        case "SEQ":
            graph = graphs.chain(*[noop] * n)
            await repeated(asked, report, n, lambda: graphs.start(graph))
        case "MANY":
            graph = graphs.chain(*[noop] * FIVE)
            await repeated(
                asked,
                report,
                n * FIVE,
                lambda: asyncio.gather(*(graphs.start(graph) for _ in range(n))),
            )
        case "FANOUT":
            graph = graphs.fan(n)
            await repeated(asked, report, n, lambda: graphs.start(graph))
        case "LATENCY":
            graph = graphs.chain(noop)
            await one_by_one(report, range(n), lambda _: graphs.start(graph))
        case "EVENT":
            await event(graphs, report, n)
        case _:
            await recover(graphs, asked)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Any]:
    """Open the saver that its pages recommend for production."""
    if url.startswith("sqlite"):
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415

        async with AsyncSqliteSaver.from_conn_string(url.removeprefix("sqlite:///")) as saver:
            yield saver
        return
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415

    kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(
        url, min_size=POOL, max_size=POOL, timeout=120, kwargs=kwargs
    ) as pool:
        yield AsyncPostgresSaver(pool)


async def main() -> None:
    asked = job()
    kind = "its SQLite saver" if asked.url.startswith("sqlite") else f"a pool of {POOL}"
    report = Report(
        packages=("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres"),
        settings=f'graph API, `durability="sync"`, {kind}; the application knows its threads, '
        "and its event is a call that resumes one",
    )
    async with opened(asked.url) as saver:
        await saver.setup()
        graphs = Graphs(saver)
        if asked.workload != "RECOVER":
            await graphs.start(graphs.chain(noop, noop))
        await run(graphs, asked, report)
        report.print()


if __name__ == "__main__":
    asyncio.run(main())
