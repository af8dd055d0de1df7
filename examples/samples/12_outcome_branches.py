"""Chooses one of several branches by a value of the data."""

from __future__ import annotations

import enum

import attrs

from wfe.core import WorkflowBuilder
from wfe.host import run


class Animal(enum.Enum):
    """Who speaks."""

    CAT = "cat"
    COW = "cow"
    FISH = "fish"


@attrs.define
class Farm:
    """The data of a run."""

    animal: Animal


def keep_quiet(animal: Animal) -> None:
    print(f"silence of the {animal.value}")


definition = (
    WorkflowBuilder(Farm)
    .decide(
        lambda d: d.animal,
        {
            Animal.CAT: lambda b: b.then(lambda: print("meow")),
            Animal.COW: lambda b: b.then(lambda: print("moo")),
        },
        default=lambda b: b.then(keep_quiet),
    )
    .build("farm")
)

if __name__ == "__main__":
    for animal in Animal:
        run(definition, Farm(animal))
