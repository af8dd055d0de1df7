"""Draws definitions as Mermaid flowcharts: pure text, for any definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from wfe.core.definition import Block, Call, Cel, Expr, Kind, Node, Value, WorkflowDefinition
from wfe.core.lean import define

__all__ = ["mermaid"]

_WIDEST: Final = 60  # characters of an expression in a label

_SHAPES: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.STEP: ("[", "]"),
    Kind.DELAY: (">", "]"),
    Kind.WAIT_FOR: ("{{", "}}"),
    Kind.SUB_WORKFLOW: ("[[", "]]"),
    Kind.SET: ("[/", "/]"),
    Kind.APPROVAL: ("{{", "}}"),
    Kind.ACTIVITY: ("[/", "\\]"),
    Kind.GOTO: ("([", "])"),
    Kind.END: ("([", "])"),
}

_DECISIONS: Final[Mapping[Kind, str]] = {
    Kind.IF: "condition",
    Kind.WHILE: "condition",
    Kind.DECIDE: "value",
}


def mermaid(*definitions: WorkflowDefinition) -> str:
    """Return one flowchart of the definitions, each in a frame of its own when there are several.

    Containers are subgraphs, decisions are diamonds, the edges of a DAG are its ``needs`` (dotted:
    ``needs_any``); a sub-workflow step leads to the frame of its workflow when that is drawn too.
    """
    drawing = _Drawing({each.id: f"w{number}" for number, each in enumerate(definitions, 1)})
    framed = len(definitions) > 1
    for definition in definitions:
        if framed:
            drawing.open(drawing.frames[definition.id], f"{definition.id} v{definition.version}")
        drawing.workflow(definition)
        if framed:
            drawing.close()
    return "\n".join(["flowchart TD", *drawing.lines, *drawing.edges, ""])


def _quoted(text: str) -> str:
    safe = (
        text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    )
    return '"' + safe.replace("#", "#35;").replace("\n", "<br/>") + '"'


def _shown(expr: Expr | None) -> str:
    match expr:
        case None:
            return ""
        case Cel(text):
            shown = " ".join(text.split())
        case Value(value):
            shown = json.dumps(value, ensure_ascii=False)
        case Call():
            shown = "Python"
        case _:
            shown = "…"
    return _cut(shown)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


@define
class _Drawing:
    frames: Mapping[str, str]
    lines: list[str] = attrs.field(factory=list[str])
    edges: list[str] = attrs.field(factory=list[str])
    _depth: int = 1
    _count: int = 0
    _names: dict[str, str] = attrs.field(factory=dict[str, str])

    def workflow(self, definition: WorkflowDefinition) -> None:
        """Draw one definition between its start and its end."""
        self._names = {}
        for node in definition.walk():
            self._count += 1
            self._names[node.name] = f"n{self._count}"
        start, end = f"{self._id()}s", f"{self._id()}e"
        self._line(f"{start}(({_quoted('start')}))")
        self._services(definition, start)
        last = self._block(definition.root, (start,), "")
        self._line(f"{end}(({_quoted('end')}))")
        for each in last:
            self._edge(each, end)

    def _services(self, definition: WorkflowDefinition, start: str) -> None:
        """Draw what runs beside a workflow."""
        services: Mapping[str, Mapping[str, object]] = definition.meta.get("services") or {}
        for name, service in services.items():
            id_ = f"{self._id()}v"
            title = f"{name}\n{service.get('image', '')}".rstrip()
            self._line(f"{id_}[({_quoted(title)})]")
            self._edge(id_, start, "beside", dotted=True)

    def open(self, id_: str, title: str) -> None:
        """Open a subgraph."""
        self._line(f"subgraph {id_}[{_quoted(title)}]")
        self._depth += 1

    def close(self) -> None:
        """Close the last subgraph."""
        self._depth -= 1
        self._line("end")

    def _id(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    def _edge(self, source: str, target: str, label: str = "", *, dotted: bool = False) -> None:
        arrow = "-.->" if dotted else "-->"
        self.edges.append(
            f"    {source} {arrow}" + (f"|{_quoted(label)}|" if label else "") + f" {target}"
        )

    def _block(self, block: Block, before: Sequence[str], label: str) -> Sequence[str]:
        """Draw nodes one after the other; return what leads on, nothing when nothing does."""
        for node in block.nodes:
            if _transparent(node):
                before, label = self._dag(node.blocks[0].nodes, before, label), ""
                continue
            self._node(node)
            id_ = self._names[node.name]
            for each in before:
                self._edge(each, id_, label)
            before, label = (() if node.kind in {Kind.GOTO, Kind.END} else (id_,)), ""
        return before

    def _node(self, node: Node) -> None:
        id_ = self._names[node.name]
        if node.kind in {Kind.STEP, Kind.APPROVAL} and node.blocks:
            self._outcomes(node)
        elif node.blocks:
            self.open(id_, _title(node))
            self._inside(node)
            self.close()
        else:
            before, after = _SHAPES.get(node.kind, ("[", "]"))
            self._line(f"{id_}{before}{_quoted(_title(node))}{after}")
            self._leads(node, id_)
        self._around(node, id_)

    def _around(self, node: Node, id_: str) -> None:
        """Draw the hooks of a node and what undoes it, each behind a dotted edge with its name."""
        undo = (("compensate", node.undo),) if node.undo is not None else ()
        for name, block in (*node.hooks, *undo):
            if not block.nodes:
                continue
            edges = len(self.edges)
            self._block(block, (id_,), name)
            self.edges[edges:] = [
                each.replace(" -->|", " -.->|") if each.startswith(f"    {id_} ") else each
                for each in self.edges[edges:]
            ]

    def _leads(self, node: Node, id_: str) -> None:
        if node.kind is Kind.GOTO and node.config["target"] in self._names:
            self._edge(id_, self._names[node.config["target"]], dotted=True)
        elif node.kind is Kind.SUB_WORKFLOW and node.config["definition"] in self.frames:
            self._edge(id_, self.frames[node.config["definition"]], "runs", dotted=True)

    def _inside(self, node: Node) -> None:
        if node.kind is Kind.DAG:
            self._dag(node.blocks[0].nodes, (), "")
            return
        decision = _DECISIONS.get(node.kind)
        source = None
        if decision is not None:
            source = f"{self._names[node.name]}d"
            self._line(f"{source}{{{_quoted(_shown(node.expr(decision)) or decision)}}}")
        for number, block in enumerate(node.blocks):
            before = () if source is None else (source,)
            last = self._block(block, before, _label(node, number))
            if node.kind is Kind.WHILE and source is not None:
                for each in last:
                    self._edge(each, source, "again")

    def _outcomes(self, node: Node) -> None:
        """Draw a step with what follows each of its outcomes."""
        frame = self._names[node.name]
        step = f"{frame}d"
        self.open(frame, node.name)
        before, after = _SHAPES.get(node.kind, ("[", "]"))
        self._line(f"{step}{before}{_quoted(_title(node))}{after}")
        for number, block in enumerate(node.blocks):
            self._block(block, (step,), _label(node, number))
        self.close()

    def _dag(self, nodes: Sequence[Node], before: Sequence[str], label: str) -> list[str]:
        """Draw nodes with edges where they need each other; return those that nobody needs."""
        needed: set[str] = set()
        for node in nodes:
            self._node(node)
            id_ = self._names[node.name]
            for name in node.needs:
                self._edge(self._names[name], id_)
            for name in node.needs_any:
                self._edge(self._names[name], id_, "any", dotted=True)
            if not (node.needs or node.needs_any):
                for each in before:
                    self._edge(each, id_, label)
            needed |= {*node.needs, *node.needs_any}
        return [self._names[node.name] for node in nodes if node.name not in needed]


def _transparent(node: Node) -> bool:
    """Whether nobody wrote the node: a front end put it around what somebody wrote."""
    return bool(node.config.get("hidden")) and node.kind is Kind.DAG


def _label(node: Node, number: int) -> str:
    block = node.blocks[number]
    match node.kind:
        case Kind.IF:
            return ("yes", "no")[number]
        case Kind.WHILE:
            return "yes"
        case Kind.DECIDE | Kind.STEP | Kind.APPROVAL:
            return "otherwise" if block.default else _shown(Value(block.label))
        case _:
            return ""


def _title(node: Node) -> str:
    more = _more(node)
    condition = f"\nonly if {_only_if(node)}" if node.run_if is not None else ""
    return f"{node.name}\n{more}{condition}" if more else f"{node.name}{condition}"


def _only_if(node: Node) -> str:
    written = node.config.get("when")  # a tree, of which the expression was made
    return _cut(written) if isinstance(written, str) else _shown(node.run_if)


def _more(node: Node) -> str:
    """Return what a label says of a node besides its name."""
    if node.kind in _CONSTANT:
        return node.kind.value
    key = _KEYS.get(node.kind)
    if key is not None:
        return f"{key[0]} {node.config.get(key[1])}"
    match node.kind:
        case Kind.PARALLEL:
            join = node.config.get("join", "all")
            return "parallel" if join == "all" else f"parallel, join {join}"
        case Kind.FOR_EACH:
            return _loop(node)
        case Kind.APPROVAL:
            return _prompt(node)
        case Kind.DELAY:
            return _delay(node.expr("duration"))
        case _:
            return ""


_CONSTANT: Final = frozenset({Kind.WHILE, Kind.DAG, Kind.SAGA})
_KEYS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.WAIT_FOR: ("event", "event"),
    Kind.SUB_WORKFLOW: ("workflow", "definition"),
    Kind.GOTO: ("go to", "target"),
}


def _prompt(node: Node) -> str:
    """Return what an approval asks, as text where that is known."""
    prompt = node.expr("prompt")
    given = prompt.value if isinstance(prompt, Value) else node.config.get("prompt")
    return given if isinstance(given, str) else _shown(prompt) or "approval"


def _loop(node: Node) -> str:
    items = node.expr("items")
    if node.config.get("as") != "matrix":
        how = "one by one" if node.config.get("sequential") else "in parallel"
        return f"for each of {_shown(items)}, {how}"
    value: Any = items.value if isinstance(items, Value) else None
    if isinstance(value, list):
        return f"matrix, {len(cast('list[object]', value))} runs"
    return "matrix"


def _delay(duration: Expr | None) -> str:
    if isinstance(duration, Value) and isinstance(duration.value, int):
        return f"{duration.value / 1_000_000:g} s"
    return _shown(duration)
