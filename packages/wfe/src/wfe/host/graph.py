"""Draws definitions as Mermaid flowcharts: pure text, for any definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from wfe.core.definition import Block, Call, Cel, Expr, Kind, Node, Value, WorkflowDefinition

__all__ = ["mermaid"]

_WIDEST: Final = 60  # characters of an expression in a label

_SHAPES: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.STEP: ("[", "]"),
    Kind.DELAY: (">", "]"),
    Kind.WAIT_FOR: ("{{", "}}"),
    Kind.SUB_WORKFLOW: ("[[", "]]"),
    Kind.SET: ("[/", "/]"),
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
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "…"


@attrs.define
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
        last = self._block(definition.root, start, "")
        self._line(f"{end}(({_quoted('end')}))")
        if last is not None:
            self._edge(last, end)

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

    def _block(self, block: Block, before: str | None, label: str) -> str | None:
        """Draw nodes one after the other; return what leads on, ``None`` when nothing does."""
        for node in block.nodes:
            self._node(node)
            id_ = self._names[node.name]
            if before is not None:
                self._edge(before, id_, label)
            before, label = (None, "") if node.kind in {Kind.GOTO, Kind.END} else (id_, "")
        return before

    def _node(self, node: Node) -> None:
        id_ = self._names[node.name]
        if node.kind is Kind.STEP and node.blocks:
            self._outcomes(node)
        elif node.blocks:
            self.open(id_, _title(node))
            self._inside(node)
            self.close()
        else:
            before, after = _SHAPES.get(node.kind, ("[", "]"))
            self._line(f"{id_}{before}{_quoted(_title(node))}{after}")
            self._leads(node, id_)

    def _leads(self, node: Node, id_: str) -> None:
        if node.kind is Kind.GOTO and node.config["target"] in self._names:
            self._edge(id_, self._names[node.config["target"]], dotted=True)
        elif node.kind is Kind.SUB_WORKFLOW and node.config["definition"] in self.frames:
            self._edge(id_, self.frames[node.config["definition"]], "runs", dotted=True)

    def _inside(self, node: Node) -> None:
        if node.kind is Kind.DAG:
            self._dag(node.blocks[0].nodes)
            return
        decision = _DECISIONS.get(node.kind)
        source = None
        if decision is not None:
            source = f"{self._names[node.name]}d"
            self._line(f"{source}{{{_quoted(_shown(node.expr(decision)) or decision)}}}")
        for number, block in enumerate(node.blocks):
            last = self._block(block, source, _label(node, number))
            if node.kind is Kind.WHILE and source is not None and last is not None:
                self._edge(last, source, "again")

    def _outcomes(self, node: Node) -> None:
        """Draw a step with what follows each of its outcomes."""
        frame = self._names[node.name]
        step = f"{frame}d"
        self.open(frame, node.name)
        self._line(f"{step}[{_quoted(_title(node))}]")
        for number, block in enumerate(node.blocks):
            self._block(block, step, _label(node, number))
        self.close()

    def _dag(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._node(node)
            id_ = self._names[node.name]
            for name in node.needs:
                self._edge(self._names[name], id_)
            for name in node.needs_any:
                self._edge(self._names[name], id_, "any", dotted=True)


def _label(node: Node, number: int) -> str:
    block = node.blocks[number]
    match node.kind:
        case Kind.IF:
            return ("yes", "no")[number]
        case Kind.WHILE:
            return "yes"
        case Kind.DECIDE | Kind.STEP:
            return "otherwise" if block.default else _shown(Value(block.label))
        case _:
            return ""


def _title(node: Node) -> str:
    more = _more(node)
    condition = f"\nonly if {_shown(node.run_if)}" if node.run_if is not None else ""
    return f"{node.name}\n{more}{condition}" if more else f"{node.name}{condition}"


def _more(node: Node) -> str:
    config = node.config
    match node.kind:
        case Kind.PARALLEL:
            join = config.get("join", "all")
            return "parallel" if join == "all" else f"parallel, join {join}"
        case Kind.FOR_EACH:
            how = "one by one" if config.get("sequential") else "in parallel"
            return f"for each of {_shown(node.expr('items'))}, {how}"
        case Kind.WHILE:
            return "while"
        case Kind.DAG:
            return "dag"
        case Kind.DELAY:
            return _delay(node.expr("duration"))
        case Kind.WAIT_FOR:
            return f"event {config.get('event')}"
        case Kind.SUB_WORKFLOW:
            return f"workflow {config.get('definition')}"
        case Kind.GOTO:
            return f"go to {config.get('target')}"
        case _:
            return ""


def _delay(duration: Expr | None) -> str:
    if isinstance(duration, Value) and isinstance(duration.value, int):
        return f"{duration.value / 1_000_000:g} s"
    return _shown(duration)
