"""``extends``: steps and workflows that take the keys of templates which they do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from wfe.core.lean import define
from wfe.yaml.diagnostics import Problems, nearest
from wfe.yaml.includes import File
from wfe.yaml.reading import Reader
from wfe.yaml.tree import Entry, Limits, ListNode, MapNode, Node, Scalar

__all__ = ["Templates"]

MERGED: Final = frozenset(
    {
        "artifacts",
        "cache",
        "concurrency",
        "config",
        "defaults",
        "env",
        "inputs",
        "outputs",
        "permissions",
        "retry",
        "secrets",
        "services",
    }
)
"""Keys whose maps are put together, own entries first; of all others the own value counts."""

STEPS: Final = (
    "steps",
    "parallel",
    "do",
    "then",
    "else",
    "try",
    "saga",
    "default",
    "cases",
    "on_success",
    "on_failure",
    "on_error",
    "on_abort",
    "ensure",
    "compensate",
)
"""Keys under which steps stand: a list of them, one, or (``cases``, ``saga``) a map of them."""


class _AbandonedError(Exception):
    """The limit is exceeded; it is reported."""


@define
class Templates:
    """Puts templates into steps and workflows.

    A name is looked for in the ``_…`` maps of the file in which the ``extends`` stands, then in
    those of the files that it includes.
    """

    problems: Problems
    limits: Limits
    main: File
    _files: dict[int, File] = attrs.field(factory=dict[int, "File"], init=False)
    _names: dict[int, dict[str, Entry]] = attrs.field(
        factory=dict[int, "dict[str, Entry]"], init=False
    )
    # Trees are looked at once; what is kept here also keeps ids from being used again.
    _done: dict[int, tuple[Node, Node]] = attrs.field(
        factory=dict[int, "tuple[Node, Node]"], init=False
    )
    _bases: dict[int, tuple[Entry, MapNode | None]] = attrs.field(
        factory=dict[int, "tuple[Entry, MapNode | None]"], init=False
    )
    _open: list[Entry] = attrs.field(factory=list[Entry], init=False)
    _walking: dict[int, str] = attrs.field(factory=dict[int, str], init=False)

    def __attrs_post_init__(self) -> None:
        """Remember which file a node stands in."""
        for file in self.main.all():
            self._files[id(file.source)] = file

    def workflow(self, spec: MapNode) -> MapNode | None:
        """Return *spec* with all templates put in; ``None`` when there is too much of them."""
        try:
            found = self._step(spec, 0)
        except _AbandonedError:
            return None
        return found if isinstance(found, MapNode) else None

    # -- steps

    def _step(self, node: Node, depth: int) -> Node:
        if not isinstance(node, MapNode):
            return self._list(node, depth) if isinstance(node, ListNode) else node
        if id(node) in self._done:
            return self._done[id(node)][1]
        self._enter(node, depth)
        found = self._inner(self._extended(node), depth)
        self._leave(node, found)
        return found

    def _list(self, node: ListNode, depth: int) -> Node:
        if id(node) in self._done:
            return self._done[id(node)][1]
        self._enter(node, depth)
        items = [self._step(item, depth + 1) for item in node.items]
        found: Node = node
        if any(new is not old for new, old in zip(items, node.items, strict=True)):
            found = self._weighed(attrs.evolve(node, items=items), items)
        self._leave(node, found)
        return found

    def _enter(self, node: MapNode | ListNode, depth: int) -> None:
        if id(node) in self._walking:
            names = list(dict.fromkeys(name for name in self._walking.values() if name))
            path = " -> ".join(f"`{name}`" for name in [*names, names[0]]) if names else ""
            message = f"these templates contain themselves without end: {path}"
            self.problems.error("WFE084", node.span, message, "remove one `extends`")
            raise _AbandonedError
        if depth > self.limits.depth:
            message = f"with its templates the file is nested more than {self.limits.depth} deep"
            self.problems.error("WFE002", node.span, message)
            raise _AbandonedError
        extends = node.get("extends") if isinstance(node, MapNode) else None
        self._walking[id(node)] = extends.value if isinstance(extends, Scalar) else ""

    def _leave(self, node: MapNode | ListNode, found: Node) -> None:
        del self._walking[id(node)]
        self._done[id(node)] = (node, found)

    def _inner(self, node: MapNode, depth: int) -> MapNode:
        """Return *node* with the steps in it looked at."""
        changed: dict[str, Entry] = {}
        for key in STEPS:
            entry = node.entries.get(key)
            if entry is None:
                continue
            value = entry.value
            new = (
                self._cases(value, depth)
                if key == "cases" and isinstance(value, MapNode)
                else self._step(value, depth + 1)
            )
            if new is not value:
                changed[key] = attrs.evolve(entry, value=new)
        if not changed:
            return node
        entries = {**node.entries, **changed}
        return self._map(node, entries)

    def _cases(self, node: MapNode, depth: int) -> Node:
        values = {name: self._step(e.value, depth + 1) for name, e in node.entries.items()}
        if all(values[name] is entry.value for name, entry in node.entries.items()):
            return node
        entries = {n: attrs.evolve(e, value=values[n]) for n, e in node.entries.items()}
        return self._map(node, entries)

    def _map(self, node: MapNode, entries: Mapping[str, Entry]) -> MapNode:
        made = attrs.evolve(node, entries=dict(entries))
        self._weighed(made, [entry.value for entry in entries.values()])
        return made

    def _weighed(self, node: MapNode | ListNode, items: list[Node]) -> Node:
        node.weight = 1 + sum(1 if isinstance(i, Scalar) else i.weight for i in items)
        if node.weight > self.limits.nodes:
            most = f"{self.limits.nodes:,}"
            message = f"with its templates the file has more than {most} nodes"
            self.problems.error("WFE002", node.span, message, "use fewer templates of templates")
            raise _AbandonedError
        return node

    # -- templates

    def _extended(self, node: MapNode) -> MapNode:
        """Return *node* with the keys of what it extends."""
        extends = node.entries.get("extends")
        if extends is None:
            return node
        entries = {name: entry for name, entry in node.entries.items() if name != "extends"}
        names = Reader(self.problems).names(extends.value, "`extends`")
        for name in names:
            entry = self._find(name)
            base = None if entry is None else self._base(entry, name)
            for key, inherited in (base.entries if base else {}).items():
                if key == "extends":
                    continue
                own = entries.get(key)
                entries[key] = inherited if own is None else _merged(key, inherited, own)
        return self._map(node, entries)

    def _base(self, entry: Entry, name: Scalar) -> MapNode | None:
        """Return a template with what it extends itself."""
        if id(entry) in self._bases:
            return self._bases[id(entry)][1]
        if entry in self._open:
            names = [each.key.value for each in self._open[self._open.index(entry) :]]
            path = " -> ".join(f"`{each}`" for each in [*names, entry.key.value])
            message = f"these templates extend each other without end: {path}"
            self.problems.error("WFE084", name.span, message, "remove one `extends`")
            return None
        what = f"the template `{entry.key.value}`"
        node = Reader(self.problems).mapping(entry.value, what)
        self._open.append(entry)
        found = None if node is None else self._extended(node)
        self._open.pop()
        self._bases[id(entry)] = (entry, found)
        return found

    def _find(self, name: Scalar) -> Entry | None:
        known = self._known(name)
        if name.value in known:
            return known[name.value]
        near = nearest(name.value, known)
        short = [each for each in known if "." not in each]
        hint = f"did you mean `{near}`?" if near else None
        if hint is None and short:
            hint = f"templates are {', '.join(short)}"
        hint = hint or "write it into a `_templates` map of this file or of an included one"
        message = f"there is no template `{name.value[:60]}`"
        self.problems.error("WFE083", name.span, message, hint)
        return None

    def _known(self, name: Scalar) -> dict[str, Entry]:
        """Return the templates that the file of *name* sees: by name, and by ``_map.name``."""
        file = self._files.get(id(name.source), self.main)
        if id(file) not in self._names:
            known: dict[str, Entry] = {}
            for each in file.all():
                for home, entry in each.root.entries.items():
                    content = entry.value
                    if home.startswith("_") and isinstance(content, MapNode):
                        for key, template in content.entries.items():
                            known.setdefault(key, template)
                            known.setdefault(f"{home}.{key}", template)
            self._names[id(file)] = known
        return self._names[id(file)]


def _merged(key: str, base: Entry, own: Entry) -> Entry:
    """Return an own entry with what it lacks of the template's."""
    old, new = base.value, own.value
    if key not in MERGED or not isinstance(old, MapNode) or not isinstance(new, MapNode):
        return own
    entries = {**old.entries, **new.entries}
    inner = (old.entries.get("env"), new.entries.get("env"))
    if key == "config" and inner[0] is not None and inner[1] is not None:
        entries["env"] = _merged("env", inner[0], inner[1])
    made = attrs.evolve(new, entries=entries, weight=old.weight + new.weight)
    return attrs.evolve(own, value=made)
