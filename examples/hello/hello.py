"""The smallest workflow: two steps, run in memory.

Run it with ``python examples/hello/hello.py``.
"""

from __future__ import annotations

from wfe.core import WorkflowBuilder
from wfe.host import run


def greet(name: str) -> dict[str, str]:
    """Make a greeting; the parameter comes from the data field of its name."""
    return {"greeting": f"Hello, {name}!"}


def shout(greeting: str) -> None:
    """Print it."""
    print(greeting.upper())


hello = WorkflowBuilder().start_with(greet).then(shout).build("hello")

if __name__ == "__main__":
    instance = run(hello, {"name": "world"})
    print(instance.status, instance.data)
