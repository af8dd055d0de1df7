"""A step whose outcome decides whether the workflow goes on or begins again."""

from __future__ import annotations

from wfe.core import WorkflowBuilder
from wfe.host import run


def draw(cards: list[int]) -> dict[str, int | list[int]]:
    """Take the first card from the pile."""
    return {"card": cards[0], "cards": cards[1:]}


def look(card: int) -> str:
    """Return a plain value: it is the outcome of the step."""
    print(f"a {card}")
    return "high" if card > 10 else "low"


definition = (
    WorkflowBuilder()
    .start_with(draw)
    .id("next card")
    .then(look)
    .when("low", lambda b: b.goto("next card"))
    .when("high", lambda b: b.then(lambda: print("that wins")))
    .build("decision")
)

if __name__ == "__main__":
    run(definition, {"cards": [3, 7, 12, 5]})
