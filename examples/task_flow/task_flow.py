"""Plain functions as a flow: one after the other, and as a graph with ports.

Run it with ``python examples/task_flow/task_flow.py``.
"""

from __future__ import annotations

from typing import TypedDict

from wfe.core import Flow, FlowBuilder, task


class Weather(TypedDict):
    """What a station reports."""

    city: str
    degrees: list[float]


REPORTS = {"Oslo": [3.5, 7.0, 6.0], "Rome": [17.0, 24.5, 21.5]}
calls = 0


@task(retry=3, timeout=30)
def fetch(city: str) -> Weather:
    """Ask the station, which does not answer at first."""
    global calls  # noqa: PLW0603 - stands for a service with its own state
    calls += 1
    if calls == 1:
        raise ConnectionError("the station is busy")
    return {"city": city, "degrees": REPORTS[city]}


@task(name="there")
def fetch_other(other: str) -> Weather:
    """A task is a function: another one may call it."""
    return fetch(other)


@task
def average(degrees: list[float]) -> float:
    """Take one name out of what the task before returned."""
    return round(sum(degrees) / len(degrees), 1)


@task
async def report(value: float, unit: str = "°C") -> str:
    """Take the whole result of the task before; the unit may be an input of the run."""
    return f"{value} {unit} on average"


@task
def compare(here: float, there: float, city: str) -> str:
    """Take two results and an input of the run."""
    return f"{city} is {here - there:+.1f} °C from the other"


flow = Flow("weather") >> fetch >> average >> report


def comparison() -> FlowBuilder:
    """Return a graph: two cities at the same time, then their difference."""
    graph = FlowBuilder("comparison")
    here = graph.add(fetch, name="here")
    there = graph.add(fetch_other)
    end = graph.add(compare)
    for station, port in ((here, "here"), (there, "there")):
        mean = graph.add(average)
        graph.connect(station, "output.degrees", mean, "degrees")
        graph.connect(mean, "output", end, port)
    return graph


if __name__ == "__main__":
    print(fetch.__name__, "is still a function:", average([1.0, 2.0]))
    print(flow.run(city="Oslo"))
    print(flow.run(city="Rome", unit="degrees"))
    print(comparison().run(city="Rome", other="Oslo"))
