"""What steps of files record about themselves, for the expressions behind them: ``steps.NAME``.

A record has ``outputs`` and ``status``; a loop's has ``results`` as well: one entry a round, in
the order of the items, with the outputs of all steps of the round.  Bodies write their records
themselves when they complete; what is here is written of nodes that have no body, or that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe.core.definition import Kind, Node
from wfe.core.rounds import PREFIX, outputs_of, round_field
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer

__all__ = ["answered", "container_done", "key_of", "passed_over", "round_over"]


def key_of(node: Node) -> str | None:
    """Return the name under which *node* records itself, ``None`` when it does not."""
    key: str | None = node.config.get("key")
    if key is None and node.kind is Kind.SUB_WORKFLOW:
        field: str = node.config.get("output") or ""
        key = field.removeprefix(PREFIX) if field.startswith(PREFIX) else None
    return key


def _record(draft: Draft, pointer: Pointer, key: str, record: Mapping[str, Any]) -> None:
    draft.store(round_field(PREFIX + key, draft.path(pointer)), dict(record))


def container_done(draft: Draft, pointer: Pointer) -> None:
    """Record that a container is done."""
    node = draft.place(pointer).node
    key = key_of(node)
    if key is None:  # pragma: no cover - only such containers are recorded
        return
    record: dict[str, Any] = {"outputs": {}, "status": "complete"}
    if node.config.get("results"):
        got: Mapping[str, Any] = pointer.extra.get("got", {})
        count = len(pointer.extra.get("items", ()))
        record["results"] = [got.get(str(index), {}) for index in range(count)]
    _record(draft, pointer, key, record)


def passed_over(draft: Draft, pointer: Pointer) -> None:
    """Record a failure that the run goes on after."""
    key = key_of(draft.place(pointer).node)
    if key is not None and draft.plan.rounds:
        _record(draft, pointer, key, {"outputs": {}, "status": "failed"})


def answered(draft: Draft, pointer: Pointer, value: Any) -> None:
    """Record what a wait brought as the output that the node names."""
    node = draft.place(pointer).node
    key, output = key_of(node), node.config.get("record")
    if key is not None and output is not None:
        record = {"outputs": {output: value}, "status": "complete"}
        _record(draft, pointer, key, record)
        draft.store(output, value)


def round_over(draft: Draft, pointer: Pointer, index: int) -> Pointer:
    """Keep what a round of the loop *pointer* gave, and drop what its steps recorded.

    The last round's records stay: they are what is seen after the loop.
    """
    path = (*draft.path(pointer), index)
    if "got" in pointer.extra:
        outputs = outputs_of(draft.records(path), path)
        if outputs:
            pointer = draft.entry(pointer, "got", str(index), outputs)
    if index < len(pointer.extra["items"]) - 1:
        draft.forget_round(path)
    return pointer
