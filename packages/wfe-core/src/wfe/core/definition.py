"""Definitions as data: a tree of named nodes, with the callables it needs kept beside it.

The tree alone is stored, hashed, sent and drawn.  Callables (step bodies, conditions, mappings)
are found through (step name, role), so a stored definition needs only a host that registered
code under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from wfe.core.errors import DefinitionError
from wfe.core.expr_forms import (
    Call,
    Cel,
    Expr,
    Json,
    ListOf,
    Record,
    Text,
    Value,
    expr_from_json,
    expr_to_json,
)
from wfe.core.lean import frozen
from wfe.core.nodes import HOOKS, TRIGGERS, Block, Kind, Limit, Node
from wfe.core.policies import ErrorPolicy, policy_from_json, policy_to_json

if TYPE_CHECKING:
    from pathlib import Path

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

LIMIT = 512  # bytes of an indexed name (engine.md 1.10)


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


@frozen(kw_only=True, slots=False)
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
        from wfe.core.stored_nodes import (  # noqa: PLC0415 - not to define a workflow
            block_to_json,
            limit_to_json,
        )

        stored: dict[str, Json] = {
            "format": 1,
            "id": self.id,
            "version": self.version,
            "root": block_to_json(self.root),
        }
        if self.default_error is not None:
            stored["default_error"] = policy_to_json(self.default_error)
        optional = {
            "default_timeout": self.default_timeout,
            "timeout": self.timeout,
            "limits": [limit_to_json(limit) for limit in self.limits] or None,
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
        from wfe.core.stored_nodes import (  # noqa: PLC0415 - as above
            block_from_json,
            limit_from_json,
        )

        error = stored.get("default_error")
        return cls(
            id=stored["id"],
            version=stored["version"],
            root=block_from_json(stored["root"]),
            default_error=policy_from_json(error) if error else None,
            default_timeout=stored.get("default_timeout"),
            timeout=stored.get("timeout"),
            limits=tuple(limit_from_json(limit) for limit in stored.get("limits", ())),
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
        import orjson  # noqa: PLC0415 - not to define a workflow

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
        from pathlib import Path  # noqa: PLC0415 - not to define a workflow

        Path(path).write_text(self.body, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> WorkflowDefinition:
        """Read a definition that :meth:`save` wrote.

        Raises:
            DefinitionError: The file is not such a definition.
        """
        from pathlib import Path  # noqa: PLC0415 - as above

        import orjson  # noqa: PLC0415 - as above

        try:
            return cls.from_json(orjson.loads(Path(path).read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{path} is not a saved workflow definition ({error!r})"
            raise DefinitionError(problem) from error
