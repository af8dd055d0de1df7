"""Two steps, one after the other."""

from __future__ import annotations

from wfe.core import WorkflowBuilder
from wfe.host import run


def hello() -> None:
    print("Hello, world!")


def goodbye() -> None:
    print("Goodbye, world!")


definition = WorkflowBuilder().start_with(hello).then(goodbye).build("hello")

if __name__ == "__main__":
    print(run(definition).status)
