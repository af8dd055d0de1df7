"""Many documents in one request, each with its own result."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import attrs
import orjson

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen

__all__ = ["Operation", "Poster", "send"]

_LOG: Final = logging.getLogger("wfe.opensearch")
_BYTES: Final = 4 << 20  # of a request
_OK: Final = 300
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409  # what is there is as new
_REFUSED: Final = range(400, 429)  # as it is, it is never taken


class Poster(Protocol):
    """Sends lines to the bulk interface."""

    async def post(self, lines: bytes) -> Mapping[str, Any]:
        """Return the answer."""
        ...


@frozen(kw_only=True)
class Operation:
    """One document put or deleted.

    Attributes:
        version: Of the document; one that is there with a higher one stays.  ``None``: none.
        source: ``None``: it is deleted.
        bare: What is tried when *source* is refused; ``None``: nothing.
    """

    index: str
    id: str
    version: int | None = None
    source: Mapping[str, Any] | None = None
    bare: Mapping[str, Any] | None = None

    def lines(self) -> bytes:
        """Return it as lines of JSON."""
        target: dict[str, Any] = {"_index": self.index, "_id": self.id}
        if self.version is not None:
            target["version"] = self.version
            target["version_type"] = "external_gte"
        if self.source is None:
            return orjson.dumps({"delete": target}) + b"\n"
        return orjson.dumps({"index": target}) + b"\n" + orjson.dumps(self.source) + b"\n"


async def send(poster: Poster, operations: Sequence[Operation]) -> None:
    """Put and delete documents; one that the index can never take is left out, and logged.

    Raises:
        ProviderError: The index does not take them now.
    """
    again: list[Operation] = []
    for some, lines in _requests(operations):
        answer = await poster.post(lines)
        again += _refused(some, answer["items"]) if answer["errors"] else ()
    if again:
        await send(poster, again)


def _requests(operations: Sequence[Operation]) -> Iterator[tuple[list[Operation], bytes]]:
    some: list[Operation] = []
    lines: list[bytes] = []
    size = 0
    for operation in operations:
        each = operation.lines()
        if lines and size + len(each) > _BYTES:
            yield some, b"".join(lines)
            some, lines, size = [], [], 0
        some.append(operation)
        lines.append(each)
        size += len(each)
    if lines:
        yield some, b"".join(lines)


def _refused(operations: Sequence[Operation], items: Sequence[Any]) -> list[Operation]:
    """Return what is to be tried in another form."""
    again: list[Operation] = []
    for operation, item in zip(operations, items, strict=True):
        result: Mapping[str, Any] = next(iter(item.values()))
        status = int(result["status"])
        if status < _OK or status == _CONFLICT:
            continue
        if status == _NOT_FOUND and operation.source is None:
            continue
        reason = _reason(result)
        if status not in _REFUSED or "block" in reason:
            problem = f"the index {operation.index} takes nothing now ({status}): {reason}"
            raise ProviderError("opensearch", problem)
        if operation.bare is not None:
            _LOG.warning("document %s is indexed without its data: %s", operation.id, reason)
            again.append(attrs.evolve(operation, source=operation.bare, bare=None))
        else:
            _LOG.error("document %s is not in the index: %s", operation.id, reason)
    return again


def _reason(result: Mapping[str, Any]) -> str:
    error = result.get("error")
    if not isinstance(error, dict):
        return str(error)
    said = cast("Mapping[str, Any]", error)
    cause: Mapping[str, Any] = said.get("caused_by") or {}
    because = f" ({cause['reason']})" if "reason" in cause else ""
    return f"{said.get('type')}: {said.get('reason')}{because}"
