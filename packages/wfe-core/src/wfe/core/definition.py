"""Definitions as data: a tree of named nodes, with the callables it needs kept beside it.

The tree alone is stored, hashed, sent and drawn.  Callables (step bodies, conditions, mappings)
are found through (step name, role), so a stored definition needs only a host that registered
code under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import orjson

from wfe.core.errors import DefinitionError
from wfe.core.policies import ErrorPolicy, policy_from_json, policy_to_json

if TYPE_CHECKING:
    from wfe.core.artifacts import ArtifactUse
    from wfe.core.caching import Caching

__all__ = [
    "HOOKS",
    "TRIGGERS",
    "Block",
    "Call",
    "Cel",
    "Expr",
    "Json",
    "Kind",
    "Limit",
    "ListOf",
    "Node",
    "Record",
    "Text",
    "Value",
    "WorkflowDefinition",
    "expr_from_json",
    "expr_to_json",
]

Json: TypeAlias = Any
"""Plain JSON: None, bool, int, float, str, list, dict with str keys."""

LIMIT = 512  # bytes of an indexed name (engine.md 1.10)

HOOKS = ("on_success", "on_failure", "on_error", "on_abort", "ensure")
"""Blocks that run after a node, in this order; by what became of it, ``ensure`` always."""

TRIGGERS = ("all", "any", "all_done", "any_failed", "none_failed")
"""When a node of a ``dag`` begins, by what became of those it needs."""


class Kind(StrEnum):
    """What a node does; the values are stored."""

    STEP = "step"
    SEQUENCE = "sequence"
    IF = "if"
    WHILE = "while"
    FOR_EACH = "for_each"
    PARALLEL = "parallel"
    DECIDE = "decide"
    DAG = "dag"
    SAGA = "saga"
    RECUR = "recur"
    DELAY = "delay"
    WAIT_FOR = "wait_for"
    ACTIVITY = "activity"
    APPROVAL = "approval"
    FUNCTION = "function"
    CALL = "call"
    SUB_WORKFLOW = "sub_workflow"
    SET = "set"
    GOTO = "goto"
    END = "end"


@attrs.frozen
class Value:
    """A constant."""

    value: Json


@attrs.frozen
class Cel:
    """A CEL expression; it reads ``data``, ``inputs``, ``steps``, ``item``, ``event`` and more."""

    text: str


@attrs.frozen
class Call:
    """A callable that the host's registration supplies, found by step name and role."""


@attrs.frozen
class Text:
    """Parts rendered one after the other into a string."""

    parts: tuple[Expr, ...]


@attrs.frozen
class Record:
    """A mapping whose values are computed."""

    fields: tuple[tuple[str, Expr], ...]


@attrs.frozen
class ListOf:
    """A list whose items are computed."""

    items: tuple[Expr, ...]


Expr: TypeAlias = Value | Cel | Call | Text | Record | ListOf


def expr_to_json(expr: Expr) -> Json:
    """Return the stored form of *expr*."""
    match expr:
        case Value(value):
            return {"v": value}
        case Cel(text):
            return {"cel": text}
        case Call():
            return {"call": True}
        case Text(parts):
            return {"text": [expr_to_json(part) for part in parts]}
        case Record(fields):
            return {"map": [[name, expr_to_json(field)] for name, field in fields]}
        case ListOf(items):
            return {"list": [expr_to_json(item) for item in items]}


def expr_from_json(stored: Json) -> Expr:
    """Return the expression that :func:`expr_to_json` stored."""
    ((form, content),) = stored.items()
    match form:
        case "v":
            return Value(content)
        case "cel":
            return Cel(content)
        case "call":
            return Call()
        case "text":
            return Text(tuple(expr_from_json(part) for part in content))
        case "map":
            return Record(tuple((name, expr_from_json(field)) for name, field in content))
        case _:
            return ListOf(tuple(expr_from_json(item) for item in content))


@attrs.frozen
class Block:
    """A list of nodes that run one after the other.

    Attributes:
        label: The value that selects the block (``decide``, ``when``); unused otherwise.
        default: Whether the block is taken when no label fits.
    """

    nodes: tuple[Node, ...] = ()
    label: Json = None
    default: bool = False


@attrs.frozen
class Limit:
    """How many may run at a time, or begin within a time.

    Attributes:
        key: Computes which ones count together; ``None``: all of this step or definition.
        limit: At least 1.
        per: µs; at most *limit* begin within this; ``None``: at most *limit* run at a time.
        on_conflict: What one does that finds no place: ``queue``: it waits; ``skip``: a step is
            skipped, a run ends as TERMINATED; ``cancel_running``: the runs that have the places,
            or wait for one, are terminated, and it waits for their end.
    """

    key: Expr | None
    limit: int
    per: int | None = None
    on_conflict: str = "queue"


@attrs.frozen(kw_only=True)
class Node:
    """One named step of a definition.

    Attributes:
        name: Unique in the definition.
        blocks: Contained steps: ``if`` has then and else, ``while``, ``for_each``, ``sequence``
            ``dag``, ``saga`` and ``recur`` have one, ``parallel`` one a branch, ``decide`` one a
            case, ``step`` and ``approval`` one a ``when``.
        needs: In a ``dag``: names that must be done before.
        needs_any: In a ``dag``: names of which one must be done before.
        run_if: The node is skipped (and counts as done) when this is false.
        inputs: Body field from expression, evaluated before each attempt.
        outputs: Data field from expression over the body.
        exprs: What the kind computes: ``condition`` (if, while), ``items`` (for_each), ``value``
            (decide), ``duration`` (delay), ``key`` (wait_for), ``data`` (sub_workflow), any names
            (set).
        config: What the kind needs as constants, see ``wfe.core.rules``.
        on_error: ``None``: the definition's default.
        timeout: Of one attempt in µs, ``None``: the definition's default.
        undo: Steps that undo this node when the saga around it fails, or as ``on_error`` says.
        hooks: Block by name (see :data:`HOOKS`).
        limits: Acquired before the node begins, freed when it ends.  Callable keys have the roles
            ``limit:0``, ``limit:1`` …
        cancel_when: The node is cancelled as soon as this holds; ``config["proceed"]``: the run
            goes on after it, else its branch ends there.
        trigger: In a ``dag``: one of :data:`TRIGGERS`, about ``needs``.
        secrets: Each gives the name of a secret that its attempts get.
        cache: When an earlier result may be used, for steps with a body; ``None``: never.
        artifacts: Files that it gets before and keeps after its body.
    """

    name: str
    kind: Kind
    blocks: tuple[Block, ...] = ()
    needs: tuple[str, ...] = ()
    needs_any: tuple[str, ...] = ()
    run_if: Expr | None = None
    inputs: tuple[tuple[str, Expr], ...] = ()
    outputs: tuple[tuple[str, Expr], ...] = ()
    exprs: tuple[tuple[str, Expr], ...] = ()
    config: Mapping[str, Json] = attrs.field(factory=dict[str, Json])
    on_error: ErrorPolicy | None = None
    timeout: int | None = None
    undo: Block | None = None
    hooks: tuple[tuple[str, Block], ...] = ()
    limits: tuple[Limit, ...] = ()
    cancel_when: Expr | None = None
    trigger: str = "all"
    secrets: tuple[Expr, ...] = ()
    cache: Caching | None = None
    artifacts: ArtifactUse | None = None

    def hook(self, name: str) -> Block | None:
        """Return the hook called *name*, ``None`` when there is none."""
        return next((block for key, block in self.hooks if key == name), None)

    def inner(self) -> Iterator[Block]:
        """Yield every block that belongs to the node: contained ones, undo and hooks."""
        yield from self.blocks
        if self.undo is not None:
            yield self.undo
        for _, block in self.hooks:
            yield block

    def expr(self, name: str) -> Expr | None:
        """Return the expression called *name*, ``None`` when there is none."""
        return next((expr for key, expr in self.exprs if key == name), None)


def _node_to_json(node: Node) -> Json:
    stored: dict[str, Json] = {"name": node.name, "kind": str(node.kind)}
    if node.blocks:
        stored["blocks"] = [_block_to_json(block) for block in node.blocks]
    if node.needs:
        stored["needs"] = list(node.needs)
    if node.needs_any:
        stored["needs_any"] = list(node.needs_any)
    if node.run_if is not None:
        stored["run_if"] = expr_to_json(node.run_if)
    for key, pairs in (("inputs", node.inputs), ("outputs", node.outputs), ("exprs", node.exprs)):
        if pairs:
            stored[key] = [[name, expr_to_json(expr)] for name, expr in pairs]
    if node.config:
        stored["config"] = dict(node.config)
    if node.on_error is not None:
        stored["on_error"] = policy_to_json(node.on_error)
    if node.timeout is not None:
        stored["timeout"] = node.timeout
    stored.update(_around_to_json(node))
    return stored


def _around_to_json(node: Node) -> dict[str, Json]:
    """Return the stored form of what stands around a node: undo, hooks, limits, conditions."""
    stored: dict[str, Json] = {}
    if node.undo is not None:
        stored["undo"] = _block_to_json(node.undo)
    if node.hooks:
        stored["hooks"] = [[name, _block_to_json(block)] for name, block in node.hooks]
    if node.limits:
        stored["limits"] = [_limit_to_json(limit) for limit in node.limits]
    if node.cancel_when is not None:
        stored["cancel_when"] = expr_to_json(node.cancel_when)
    if node.trigger != "all":
        stored["trigger"] = node.trigger
    if node.secrets:
        stored["secrets"] = [expr_to_json(expr) for expr in node.secrets]
    if node.cache is not None or node.artifacts is not None:
        stored.update(_kept_to_json(node))
    return stored


def _kept_to_json(node: Node) -> dict[str, Json]:
    from wfe.core.artifacts import artifact_use_to_json  # noqa: PLC0415 - few steps keep anything
    from wfe.core.caching import caching_to_json  # noqa: PLC0415 - as above

    stored: dict[str, Json] = {}
    if node.cache is not None:
        stored["cache"] = caching_to_json(node.cache, expr_to_json)
    if node.artifacts is not None:
        stored["artifacts"] = artifact_use_to_json(node.artifacts, expr_to_json)
    return stored


def _kept_from_json(stored: Mapping[str, Json]) -> dict[str, Any]:
    """Return what a stored node says of its cache and artifacts, for :class:`Node`."""
    if "cache" not in stored and "artifacts" not in stored:
        return {}
    from wfe.core.artifacts import artifact_use_from_json  # noqa: PLC0415 - as above
    from wfe.core.caching import caching_from_json  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    if "cache" in stored:
        found["cache"] = caching_from_json(stored["cache"], expr_from_json)
    if "artifacts" in stored:
        found["artifacts"] = artifact_use_from_json(stored["artifacts"], expr_from_json)
    return found


def _limit_to_json(limit: Limit) -> Json:
    key = None if limit.key is None else expr_to_json(limit.key)
    stored = [key, limit.limit, limit.per]
    return stored if limit.on_conflict == "queue" else [*stored, limit.on_conflict]


def _limit_from_json(stored: Json) -> Limit:
    key, limit, per, *more = stored
    return Limit(None if key is None else expr_from_json(key), limit, per, *more)


def _block_to_json(block: Block) -> Json:
    stored: dict[str, Json] = {"nodes": [_node_to_json(node) for node in block.nodes]}
    if block.label is not None:
        stored["label"] = block.label
    if block.default:
        stored["default"] = True
    return stored


def _pairs(stored: Json) -> tuple[tuple[str, Expr], ...]:
    return tuple((name, expr_from_json(expr)) for name, expr in stored)


def _node_from_json(stored: Mapping[str, Json]) -> Node:
    return Node(
        name=stored["name"],
        kind=Kind(stored["kind"]),
        blocks=tuple(_block_from_json(block) for block in stored.get("blocks", ())),
        needs=tuple(stored.get("needs", ())),
        needs_any=tuple(stored.get("needs_any", ())),
        run_if=expr_from_json(stored["run_if"]) if "run_if" in stored else None,
        inputs=_pairs(stored.get("inputs", ())),
        outputs=_pairs(stored.get("outputs", ())),
        exprs=_pairs(stored.get("exprs", ())),
        config=stored.get("config", {}),
        on_error=policy_from_json(stored["on_error"]) if "on_error" in stored else None,
        timeout=stored.get("timeout"),
        undo=_block_from_json(stored["undo"]) if "undo" in stored else None,
        hooks=tuple((name, _block_from_json(block)) for name, block in stored.get("hooks", ())),
        limits=tuple(_limit_from_json(limit) for limit in stored.get("limits", ())),
        cancel_when=expr_from_json(stored["cancel_when"]) if "cancel_when" in stored else None,
        trigger=stored.get("trigger", "all"),
        secrets=tuple(expr_from_json(expr) for expr in stored.get("secrets", ())),
        **_kept_from_json(stored),
    )


def _block_from_json(stored: Mapping[str, Json]) -> Block:
    return Block(
        nodes=tuple(_node_from_json(node) for node in stored["nodes"]),
        label=stored.get("label"),
        default=stored.get("default", False),
    )


def _limit_calls(step: str, limits: tuple[Limit, ...]) -> Iterator[tuple[str, str]]:
    for position, limit in enumerate(limits):
        if isinstance(limit.key, Call):
            yield step, f"limit:{position}"


def _expressions(node: Node) -> Iterator[tuple[str, Expr | None]]:
    """Yield role and expression of all that a node may compute, but for its limits."""
    yield "run_if", node.run_if
    yield "cancel_when", node.cancel_when
    for position, expr in enumerate(node.secrets):
        yield f"secret:{position}", expr
    if node.cache is not None:
        yield "cache:key", node.cache.key
    for prefix, pairs in (("input:", node.inputs), ("output:", node.outputs), ("", node.exprs)):
        for name, expr in pairs:
            yield prefix + name, expr


@attrs.frozen(kw_only=True, slots=False)
class WorkflowDefinition:
    """What a workflow does, as data; build one with a builder or load one from a file.

    Attributes:
        id: With *version* it names the definition; at most 512 bytes.
        root: The steps.
        default_error: For steps without their own policy; ``None``: fail.
        default_timeout: Of one attempt of a step without its own, in µs; ``None``: none.
        timeout: Of a whole run in µs; ``None``: none.
        limits: For whole runs, per definition; callable keys have the roles ``/limit:0`` …
        retention: µs that a finished run is kept; ``None``: the host's setting; -1: for ever.
        retentions: The same, by the status of the run (``failed`` …); wins over *retention*.
        requires: Labels that a host must have to run it.
        handlers: Names of its ``update:NAME``, ``validate:NAME`` and ``query:NAME`` callables
            (roles ``/update:NAME`` …).
        result: Data field that is the run's result; ``None``: all data.
        meta: Further constants for tools (declared inputs and outputs of a file, description …).
        code: Callables by ``step/role``; not part of equality, hash or the stored form.
        data_type: Class of the data, ``None``: plain ``dict``; not stored either.
    """

    id: str
    version: int = 1
    root: Block
    default_error: ErrorPolicy | None = None
    default_timeout: int | None = None
    timeout: int | None = None
    limits: tuple[Limit, ...] = ()
    retention: int | None = None
    retentions: Mapping[str, int] = attrs.field(factory=dict[str, int])
    requires: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    result: str | None = None
    meta: Mapping[str, Json] = attrs.field(factory=dict[str, Json])
    code: Mapping[str, Any] = attrs.field(factory=dict[str, Any], eq=False, repr=False)
    data_type: type | None = attrs.field(default=None, eq=False)

    def to_json(self) -> Json:
        """Return the stored form: plain JSON, without callables."""
        stored: dict[str, Json] = {
            "format": 1,
            "id": self.id,
            "version": self.version,
            "root": _block_to_json(self.root),
        }
        if self.default_error is not None:
            stored["default_error"] = policy_to_json(self.default_error)
        optional = {
            "default_timeout": self.default_timeout,
            "timeout": self.timeout,
            "limits": [_limit_to_json(limit) for limit in self.limits] or None,
            "retention": self.retention,
            "retentions": dict(self.retentions) or None,
            "requires": list(self.requires) or None,
            "handlers": list(self.handlers) or None,
            "result": self.result,
        }
        stored.update({key: value for key, value in optional.items() if value is not None})
        if self.meta:
            stored["meta"] = dict(self.meta)
        return stored

    @classmethod
    def from_json(
        cls,
        stored: Mapping[str, Json],
        *,
        code: Mapping[str, Any] | None = None,
        data_type: type | None = None,
    ) -> WorkflowDefinition:
        """Return the definition that :meth:`to_json` stored, with *code* for its callables."""
        error = stored.get("default_error")
        return cls(
            id=stored["id"],
            version=stored["version"],
            root=_block_from_json(stored["root"]),
            default_error=policy_from_json(error) if error else None,
            default_timeout=stored.get("default_timeout"),
            timeout=stored.get("timeout"),
            limits=tuple(_limit_from_json(limit) for limit in stored.get("limits", ())),
            retention=stored.get("retention"),
            retentions=stored.get("retentions", {}),
            requires=tuple(stored.get("requires", ())),
            handlers=tuple(stored.get("handlers", ())),
            result=stored.get("result"),
            meta=stored.get("meta", {}),
            code=code or {},
            data_type=data_type,
        )

    @cached_property
    def body(self) -> str:
        """The stored form as canonical JSON text."""
        return orjson.dumps(self.to_json(), option=orjson.OPT_SORT_KEYS).decode()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of :attr:`body` in hexadecimal: what identifies the contents."""
        import hashlib  # noqa: PLC0415 - loads OpenSSL; not to define a workflow

        return hashlib.sha256(self.body.encode()).hexdigest()

    def walk(self) -> Iterator[Node]:
        """Yield every node, containers before what they contain, undo and hooks last."""
        stack = list(reversed(self.root.nodes))
        while stack:
            node = stack.pop()
            yield node
            for block in reversed(list(node.inner())):
                stack.extend(reversed(block.nodes))

    def callables(self) -> Iterator[tuple[str, str]]:
        """Yield (step name, role) of each callable that the definition needs."""
        for role in self.handlers:
            yield "", role
        yield from _limit_calls("", self.limits)
        for node in self.walk():
            if node.kind in (Kind.STEP, Kind.FUNCTION) and "uses" not in node.config:
                yield node.name, "body"
            yield from _limit_calls(node.name, node.limits)
            for role, expr in _expressions(node):
                if isinstance(expr, Call):
                    yield node.name, role

    def missing(self) -> tuple[str, ...]:
        """Return the callables (``step/role``) that :attr:`code` does not have."""
        keys = (f"{step}/{role}" for step, role in self.callables())
        return tuple(key for key in keys if key not in self.code)

    def save(self, path: str | Path) -> None:
        """Write the definition as JSON.

        Raises:
            DefinitionError: It needs callables, which a file cannot hold; each is named.
        """
        needed = sorted(f"{step}/{role}" for step, role in self.callables())
        if needed:
            problem = f"callables cannot be saved: {', '.join(needed)}"
            hint = "use CEL strings for conditions and mappings, and steps found by name"
            raise DefinitionError(problem, self.id, hint)
        Path(path).write_text(self.body, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> WorkflowDefinition:
        """Read a definition that :meth:`save` wrote.

        Raises:
            DefinitionError: The file is not such a definition.
        """
        try:
            return cls.from_json(orjson.loads(Path(path).read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{path} is not a saved workflow definition ({error!r})"
            raise DefinitionError(problem) from error
