"""The named steps of a definition, as data: what each does, contains, needs and is bound by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from wfe.core.expr_forms import Expr, Json
from wfe.core.lean import frozen

if TYPE_CHECKING:
    from wfe.core.artifacts import ArtifactUse
    from wfe.core.caching import Caching
    from wfe.core.policies import ErrorPolicy

__all__ = ["HOOKS", "TRIGGERS", "Block", "Kind", "Limit", "Node"]

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


@frozen
class Block:
    """A list of nodes that run one after the other.

    Attributes:
        label: The value that selects the block (``decide``, ``when``); unused otherwise.
        default: Whether the block is taken when no label fits.
    """

    nodes: tuple[Node, ...] = ()
    label: Json = None
    default: bool = False


@frozen
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


@frozen(kw_only=True)
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
