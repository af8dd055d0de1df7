"""Three ways to give services to steps: the application object, a prototype, a factory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import run


@attrs.define
class Mailer:
    """A service; it is never stored."""

    sender: str

    def send(self, text: str) -> None:
        print(f"{self.sender}: {text}")


def from_app(ctx: StepExecutionContext) -> None:
    """Take it from the application object."""
    ctx.app.send("from the application object")


@attrs.define
class FromPrototype:
    """Got it when the workflow was built; the object is copied for each attempt."""

    mailer: Mailer

    def run(self, ctx: StepExecutionContext) -> None:
        self.mailer.send("from a prototype")


@attrs.define
class FromFactory:
    """Is made by the factory, for each attempt."""

    mailer: Mailer

    def run(self, ctx: StepExecutionContext) -> None:
        self.mailer.send("from the factory")


@attrs.define
class Container:
    """Stands for a container of your choice."""

    services: dict[str, Callable[[], object]]

    def make(self, body: type) -> Any:
        """Make a step with the services that its fields name."""
        wanted = [field.name for field in attrs.fields(body)]
        return body(**{name: self.services[name]() for name in wanted})


definition = (
    WorkflowBuilder()
    .start_with(from_app)
    .then(FromPrototype(Mailer("shop")))
    .then(FromFactory)
    .build("services")
)

if __name__ == "__main__":
    container = Container({"mailer": lambda: Mailer("container")})
    run(definition, app=Mailer("app"), step_factory=container.make)
