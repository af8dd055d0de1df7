"""Extract, transform, load as a DAG: what needs nothing starts at once, a diamond joins once.

Run it with ``python examples/etl_dag/etl.py``.
"""

from __future__ import annotations

import operator

import attrs

from wfe.core import Dag, WorkflowDefinition, merged
from wfe.host import run


@attrs.define
class Sales:
    """Rows from several sources; parallel steps add to *rows* without losing each other's."""

    region: str = "north"
    rows: list[dict[str, int | str]] = merged(operator.add, factory=list)
    total: int = 0
    report: str = ""


def from_shop() -> dict[str, list[dict[str, int | str]]]:
    """Read the shop's sales; what is returned is added to the field."""
    return {"rows": [{"item": "book", "cents": 1200}, {"item": "lamp", "cents": 4550}]}


def from_market() -> dict[str, list[dict[str, int | str]]]:
    """Read the market's sales."""
    return {"rows": [{"item": "desk", "cents": 19900}]}


def summed(rows: list[dict[str, int | str]]) -> dict[str, int]:
    """Add the prices up."""
    return {"total": sum(int(row["cents"]) for row in rows)}


def load(region: str, total: int, rows: list[dict[str, int | str]]) -> dict[str, str]:
    """Write the report."""
    return {"report": f"{region}: {len(rows)} sales, {total / 100:.2f}"}


def etl() -> WorkflowDefinition:
    """Return the workflow."""
    dag = Dag("etl", version=1, data_type=Sales)
    dag.step("shop", from_shop)
    dag.step("market", from_market)
    dag.step("summed", summed, depends_on=["shop", "market"])
    dag.step("load", load, depends_on=["summed"])
    return dag.build()


if __name__ == "__main__":
    instance = run(etl(), {"region": "south"})
    print(instance.status, instance.data.report)
