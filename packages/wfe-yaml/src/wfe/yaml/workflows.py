"""Check a file and what it includes: its workflows, and what they call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from wfe.core.definition import WorkflowDefinition
from wfe.core.lean import define, frozen
from wfe.yaml.context import Signature, Signatures
from wfe.yaml.diagnostics import Problems, Source, Span, TooManyProblemsError, nearest
from wfe.yaml.includes import File, read_files
from wfe.yaml.keys import FILE
from wfe.yaml.reading import Reader
from wfe.yaml.signatures import SignatureReader
from wfe.yaml.templates import Templates
from wfe.yaml.tree import Limits, MapNode
from wfe.yaml.value_types import ValueType
from wfe.yaml.variables import Variables
from wfe.yaml.workflow_check import WorkflowCheck

__all__ = ["Checked", "check_source"]

_BEGIN: Final = "begin with `workflow:` and an `id`, a `version` and `steps`"


@frozen(kw_only=True)
class Checked:
    """The definitions of a file; incomplete when *problems* has errors.

    Attributes:
        definitions: Its own in their order, then those of included files; without callables.
        called: Ids of those that another one of them calls.
    """

    definitions: tuple[WorkflowDefinition, ...]
    called: frozenset[str]


_NOTHING: Final = Checked(definitions=(), called=frozenset())


def check_source(
    source: Source,
    variables: Variables,
    problems: Problems,
    limits: Limits,
    path: Path | None = None,
) -> Checked:
    """Check *source* and return its definitions; what is wrong goes to *problems*.

    Args:
        source: The text.
        variables: For ``((name))``.
        problems: Gets what is wrong.
        limits: Of the file.
        path: Where *source* stands: to its directory included files are confined; ``None``: in
            the working directory.
    """
    try:
        main = read_files(source, path, variables, problems, limits)
        return _NOTHING if main is None else _Project(problems, variables, limits, main).check()
    except TooManyProblemsError:
        return _NOTHING
    except RecursionError:
        # The default limit of depth is far from this; a caller's own may not be.
        message = "the file is nested deeper than it can be read"
        problems.error("WFE002", Span(source, 1, 1), message)
        return _NOTHING


@frozen(kw_only=True, eq=False)
class _Spec:
    """A workflow as it is written, with the templates put in."""

    node: MapNode
    signature: Signature
    file: File
    records: Mapping[str, ValueType]
    overrides: Span | None


@define
class _Project:
    """A file with what it includes."""

    problems: Problems
    variables: Variables
    limits: Limits
    main: File
    _records: dict[int, dict[str, tuple[Span, ValueType]]] = attrs.field(
        factory=dict[int, "dict[str, tuple[Span, ValueType]]"], init=False
    )

    @property
    def reader(self) -> Reader:
        return Reader(self.problems)

    def check(self) -> Checked:
        templates = Templates(self.problems, self.limits, self.main)
        specs: list[_Spec] = []
        for file in self.main.all():
            self._check_keys(file)
            for written in self._written(file):
                node = templates.workflow(written)
                if node is None:
                    return _NOTHING
                specs.append(self._spec(node, file))
        specs = self._chosen(specs)
        signatures = Signatures()
        for spec in specs:
            signatures.add(spec.signature)
        checked = [self._checked(spec, signatures) for spec in specs]
        calls: dict[str, list[tuple[str, Span]]] = {}
        for definition, made in checked:
            calls.setdefault(definition.id, []).extend(made)
        _Circles(self.problems, calls).refuse()
        called = frozenset(child for made in calls.values() for child, _ in made)
        return Checked(definitions=tuple(d for d, _ in checked), called=called)

    def _check_keys(self, file: File) -> None:
        known = {k: e for k, e in file.root.entries.items() if not k.startswith("_")}
        for _ in self.reader.keys(attrs.evolve(file.root, entries=known), "a workflow file", FILE):
            pass

    def _checked(
        self, spec: _Spec, signatures: Signatures
    ) -> tuple[WorkflowDefinition, list[tuple[str, Span]]]:
        source = self.main.source.name
        checker = WorkflowCheck(self.problems, self.variables, signatures, spec.records, source)
        return checker.check(spec.node, spec.signature)

    def _written(self, file: File) -> list[MapNode]:
        root = file.root
        one, several = root.entries.get("workflow"), root.entries.get("workflows")
        if one and several:
            message = "`workflow` and `workflows` stand in one file"
            self.problems.error(
                "WFE019", several.key.span, message, "put all of them under `workflows`"
            )
        if one is None and several is None:
            self._without_workflow(file)
            return []
        found: list[MapNode | None] = []
        if one is not None:
            found.append(self.reader.mapping(one.value, "`workflow`"))
        elif several is not None:
            listed = self.reader.sequence(several.value, "`workflows`")
            found += [
                self.reader.mapping(i, "a workflow") for i in (listed.items if listed else [])
            ]
        return [spec for spec in found if spec is not None]

    def _without_workflow(self, file: File) -> None:
        """A file may hold types and templates for others only."""
        root = file.root
        if any(name in {"include", "types"} or name.startswith("_") for name in root.entries):
            return
        near = next((n for n in root.entries if nearest(n, ("workflow", "workflows"))), None)
        if near is None:
            self.reader.missing(root, "a workflow file", "workflow", _BEGIN)

    def _types(self, file: File) -> dict[str, tuple[Span, ValueType]]:
        """Return the record types that *file* sees: its own, and those of what it includes."""
        if id(file) in self._records:
            return self._records[id(file)]
        found: dict[str, tuple[Span, ValueType]] = {}
        for included in file.includes:
            for name, (span, kind) in self._types(included).items():
                self._add_type(found, name, span, kind)
        known = {name: kind for name, (_, kind) in found.items()}
        own = SignatureReader(self.problems).records(file.root.get("types"), known)
        for name, (span, kind) in own.items():
            self._add_type(found, name, span, kind)
        self._records[id(file)] = found
        return found

    def _add_type(
        self, found: dict[str, tuple[Span, ValueType]], name: str, span: Span, kind: ValueType
    ) -> None:
        if name in found and found[name][0] != span:
            first = _place(found[name][0])
            message = f"the type `{name}` stands twice, first in {first}"
            self.problems.error("WFE018", span, message, "give one of them another name")
        found[name] = (span, kind)

    def _spec(self, node: MapNode, file: File) -> _Spec:
        records = {name: kind for name, (_, kind) in self._types(file).items()}
        override = node.entries.get("override")
        flag = self.reader.boolean(override.value, "`override`") if override else None
        return _Spec(
            node=node,
            signature=SignatureReader(self.problems).signature(node, records),
            file=file,
            records=records,
            overrides=override.key.span if override and flag else None,
        )

    def _chosen(self, specs: Sequence[_Spec]) -> list[_Spec]:
        """Return one workflow for each id and version; a repeat needs an ``override``."""
        groups: dict[tuple[str, int], list[_Spec]] = {}
        for spec in specs:
            groups.setdefault((spec.signature.id, spec.signature.version), []).append(spec)
        chosen: set[int] = set()
        for group in groups.values():
            overriding = [spec for spec in group if spec.overrides]
            chosen.add(id((overriding or group)[0]))
            if len(group) == 1 and overriding:
                message = f"`override` replaces nothing: no included file has {_named(group[0])}"
                at = overriding[0].overrides or group[0].signature.span
                self.problems.warning("WFE052", at, message, "remove it, or correct the id")
            elif len(group) > 1 and len(overriding) != 1:
                self._refuse_repeats(overriding or group)
        return [spec for spec in specs if id(spec) in chosen]

    def _refuse_repeats(self, group: Sequence[_Spec]) -> None:
        first = group[0]
        for other in group[1:]:
            at = other.signature.span
            where = f"first in line {first.signature.span.line}"
            hint = "give one of them another id or version"
            if other.file is not first.file:
                # The including file is the one to change.
                at, where = first.signature.span, f"also in {_place(other.signature.span)}"
                hint += ", or write `override: true` here to replace the other"
            what = f"the workflow {_named(other)} stands twice, {where}"
            if first.overrides:
                what = f"two workflows override {_named(other)}: {where}"
                hint = "remove `override` from one of them"
            self.problems.error("WFE018", at, what, hint)


def _named(spec: _Spec) -> str:
    return f"`{spec.signature.id}` version {spec.signature.version}"


def _place(span: Span) -> str:
    return f"{span.source.name}:{span.line}"


@frozen
class _Circles:
    """Finds workflows that run each other."""

    problems: Problems
    calls: Mapping[str, Sequence[tuple[str, Span]]]

    def refuse(self) -> None:
        done: set[str] = set()
        for start in self.calls:
            self._follow(start, [], done)

    def _follow(self, id_: str, path: list[str], done: set[str]) -> None:
        if id_ in done or len(path) > 200:
            return
        path.append(id_)
        for child, span in self.calls.get(id_, ()):
            if child in path:
                circle = " -> ".join(f"`{name}`" for name in [*path[path.index(child) :], child])
                message = f"these workflows run each other without end: {circle}"
                self.problems.error("WFE041", span, message, "remove one of the calls")
            else:
                self._follow(child, path, done)
        path.pop()
        done.add(id_)
