"""Every branch that fits the outcome of a step is taken; they join before what follows."""

from __future__ import annotations

from wfe.core import WorkflowBuilder
from wfe.host import run


def triage(temperature: float) -> str:
    return "fever" if temperature >= 38 else "well"


definition = (
    WorkflowBuilder()
    .start_with(triage)
    .when("fever", lambda b: b.then(lambda: {"tea": "elder"}))
    .when("fever", lambda b: b.then(lambda: {"doctor": "called"}))
    .otherwise(lambda b: b.then(lambda: {"advice": "go out"}))
    .then_fn(lambda ctx: print(dict(sorted(ctx.data.items()))))
    .build("triage")
)

if __name__ == "__main__":
    run(definition, {"temperature": 39.2})
    run(definition, {"temperature": 36.8})
