"""What checking the steps of one workflow needs: readers, declarations, and names given so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from wfe.core.definition import Node as DefinitionNode
from wfe.core.lean import define, frozen
from wfe.yaml.diagnostics import Problems, Span
from wfe.yaml.expressions import Expressions
from wfe.yaml.reading import Reader
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode
from wfe.yaml.value_types import ValueType

__all__ = ["Built", "Context", "InputSpec", "Signature", "Signatures"]


@frozen(kw_only=True)
class InputSpec:
    """A declared input.

    Attributes:
        default: Converted; only meaningful when *required* is false.
    """

    kind: ValueType
    required: bool
    default: Any = None
    description: str | None = None


@frozen(kw_only=True)
class Signature:
    """What a workflow takes and gives."""

    id: str
    version: int
    span: Span
    inputs: Mapping[str, InputSpec]
    outputs: Mapping[str, ValueType]


@define(eq=False)
class Signatures(Mapping[str, Signature]):
    """Signatures by id; of several versions the highest."""

    _all: dict[str, dict[int, Signature]] = attrs.field(factory=dict[str, "dict[int, Signature]"])

    def add(self, signature: Signature) -> None:
        """Add one; of the same id and version the first stays."""
        self._all.setdefault(signature.id, {}).setdefault(signature.version, signature)

    def find(self, id: str, version: int | None = None) -> Signature | None:
        """Return the signature of a version (``None``: the highest), ``None``: there is none."""
        versions = self._all.get(id, {})
        return versions.get(max(versions, default=0) if version is None else version)

    def versions(self, id: str) -> tuple[int, ...]:
        """Return the versions of an id, in order."""
        return tuple(sorted(self._all.get(id, ())))

    def __getitem__(self, id: str) -> Signature:
        found = self.find(id)
        if found is None:
            raise KeyError(id)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


@frozen(kw_only=True)
class Built:
    """What became of a step: its node (``None`` if it is wrong), and what may be read after it."""

    node: DefinitionNode | None
    scope: Scope


@frozen(kw_only=True)
class Context:
    """One workflow being checked.

    Attributes:
        signatures: Of all workflows of the file and what it includes, by id.
        records: Named record types of the file.
        defaults: Keys that every leaf step inherits.
        calls: (child id, place) of each child workflow, for finding circles.
        keys: Step name or id -> name of its node.
        counts: How many unnamed steps of a kind there were.
        labels: Capabilities that a step asks for with `runs_on`: label -> where.
    """

    workflow: str
    problems: Problems
    signatures: Signatures
    records: Mapping[str, ValueType] = attrs.field(factory=dict[str, ValueType])
    defaults: MapNode | None = None
    calls: list[tuple[str, Span]] = attrs.field(factory=list[tuple[str, Span]])
    keys: dict[str, str] = attrs.field(factory=dict[str, str])
    counts: dict[str, int] = attrs.field(factory=dict[str, int])
    labels: dict[str, Span] = attrs.field(factory=dict[str, Span])

    @property
    def reader(self) -> Reader:
        """Reads constants."""
        return Reader(self.problems)

    @property
    def expressions(self) -> Expressions:
        """Reads expressions."""
        return Expressions(self.problems)

    def free(self, name: str) -> str:
        """Return *name*, with a number behind it if a step has it."""
        while name in self.keys:
            name += "-2"
        self.keys[name] = name
        return name

    def unnamed(self, kind: str) -> str:
        """Return a name for an unnamed control step: its kind, then ``kind-2`` and so on."""
        while True:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            name = kind if self.counts[kind] == 1 else f"{kind}-{self.counts[kind]}"
            if name not in self.keys:
                return name
