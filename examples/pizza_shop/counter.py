"""The counter: orders stand in the shop's own table, and their runs in the same database file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from examples.pizza_shop.menu import Order
from wfe.host import WorkflowHost, WorkflowRun

__all__ = ["open_book", "take"]


def open_book(file: Path) -> sqlite3.Connection:
    """Open the shop's order book."""
    book = sqlite3.connect(file)
    book.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL)")
    book.commit()
    return book


async def take(host: WorkflowHost, book: sqlite3.Connection, order: Order) -> WorkflowRun:
    """Write an order down and start its run, both or neither.

    Raises:
        sqlite3.IntegrityError: There is an order of that id; no run was started.
    """
    with book:  # commits, or rolls back
        book.execute("INSERT INTO orders VALUES (?, ?)", (order.id, order.customer))
        return await host.start_workflow("pizza-order", order, name=order.id, within=book)
