"""How big things may be: texts that are indexed, values, and a run's whole data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import attrs
import orjson

from wfe.core.errors import DataTypeError
from wfe.core.lean import frozen
from wfe.core.models import WorkflowStatus
from wfe.core.rules.inputs import Failed, Input, Received, Writes
from wfe.core.rules.state import folded

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.inputs import Decision

__all__ = ["Sizes", "as_key", "check_index", "check_name", "check_note", "storable_text", "text_of"]

_INDEX_BYTES: Final = 512
_SHOWN: Final = 80  # characters of a value that an error shows
_RESULTS: Final = {"child_done": "data", "activity_done": "result"}
"""Which member of a message's payload becomes data, by kind."""
_ERROR: Final = 16_384  # characters of an error's text that are kept


def check_index(what: str, value: str | None) -> None:
    """Refuse a text that no store could index.

    Raises:
        DataTypeError: It is longer than 512 bytes in UTF-8, contains NUL, or is no valid text.
    """
    if value is None:
        return
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        raise DataTypeError(what, f"expected a text, got {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise DataTypeError(what, "contains a lone surrogate; it cannot be stored") from None
    if size > _INDEX_BYTES:
        raise DataTypeError(what, f"is {size} bytes long; at most {_INDEX_BYTES} can be indexed")
    if "\0" in value:
        raise DataTypeError(what, "contains a NUL character; it cannot be indexed")


def as_key(what: str, value: object) -> str:
    """Return a value by which something is found as the text that stands for it.

    Args:
        what: What it is, for errors.
        value: A text, a whole number, a decimal, a UUID, a date or a time, or a member of an
            enumeration of these.

    Raises:
        DataTypeError: It is something else, or a text that cannot be indexed.
    """
    plain: object = value.value if isinstance(value, Enum) else value
    if isinstance(plain, bool) or not isinstance(plain, str | int | Decimal | UUID | date):
        raise DataTypeError(what, f"expected a text or a number, got {_got(value)}")
    text = str(plain)
    check_index(what, text)
    return text


def check_name(what: str, value: object) -> str:
    """Return a name that something is found by.

    Raises:
        DataTypeError: It is no text, empty, or cannot be indexed.
    """
    if not isinstance(value, str):
        raise DataTypeError(what, f"expected a text, got {_got(value)}")
    if not value:
        raise DataTypeError(what, "must not be empty")
    check_index(what, value)
    return value


def check_note(what: str, value: object) -> None:
    """Refuse what cannot be a note in a history, such as who asked for something and why.

    Raises:
        DataTypeError: It is neither text nor ``None``, or no valid text.
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise DataTypeError(what, f"expected a text or None, got {_got(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataTypeError(what, "contains a lone surrogate; it cannot be stored") from None


def storable_text(text: str) -> str:
    """Return *text* with its lone surrogates written as escapes: no store takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """Return the text of an exception as it can be stored."""
    try:
        return storable_text(str(error))
    except Exception as problem:  # noqa: BLE001 - it is user code that failed, in its __str__
        return f"(its text cannot be had: {type(problem).__name__})"


def _got(value: object) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'} ({type(value).__name__})"


@frozen(kw_only=True)
class Sizes:
    """The limits of a host; those of sizes in bytes of JSON.

    Attributes:
        value: Of one value (a data field, an outcome, a payload), when there is no blob provider.
        data: Of all data of a run.
        blobs: Whether values above the limit go to a blob provider.
        history: Rows of a run.
    """

    value: int
    data: int
    blobs: bool = False
    history: int = 10_000_000

    def check(self, what: str, text: str) -> None:
        """Refuse the JSON *text* of a value that is too big.

        Raises:
            DataTypeError: It is; the error names *what*, its size and the limit.
        """
        limit = self.data if self.blobs else self.value
        if len(text) <= limit // 4:  # so it is smaller in bytes too, whatever its characters
            return
        size = len(text.encode())
        if size > limit:
            raise DataTypeError(what, self._problem(size))

    def check_fields(self, fields: Mapping[str, Any], text_size: int) -> None:
        """Refuse the start data of a run; *text_size* (characters) is at least that of its fields.

        Raises:
            DataTypeError: A field is too big, or all of them together.
        """
        if text_size <= min(self.value, self.data) // 4:
            return
        total = 0
        for name, value in fields.items():
            size = _size(value)
            total += size
            if size > self.value and not self.blobs:
                raise DataTypeError(f"data.{name}", self._problem(size))
        if total > self.data:
            raise DataTypeError("data", self._whole(total))

    def small(self, run: LiveRun, written: int) -> bool:
        """Whether *written* characters of rows and all data of *run* are below every limit."""
        if written > self.value // 4:
            return False
        return run.snapshot_bytes + run.tail_bytes + written <= self.data // 4

    def refused(
        self, run: LiveRun, taken: Sequence[Input], decision: Decision, written: int
    ) -> list[Input] | None:
        """Return *taken* with failures in place of outcomes that are too big; ``None``: none is.

        Args:
            run: Whose transition it is.
            taken: What was decided on.
            decision: What follows from it.
            written: Characters of its rows.
        """
        if self.small(run, written):
            return None  # the usual way
        bound = run.snapshot_bytes + run.tail_bytes + written
        changed = list(taken)
        if written > self.value // 4:
            for k, each in enumerate(taken):
                changed[k] = self._fitting(each)
        if changed == list(taken) and bound > self.data // 4:
            self._whole_data(run, changed, decision)
        return None if changed == list(taken) else changed

    def _fitting(self, each: Input) -> Input:
        if isinstance(each, Failed):
            if len(each.message) <= _ERROR:
                return each
            cut = f"{each.message[:_ERROR]}… ({len(each.message)} characters, cut)"
            return attrs.evolve(each, message=cut)
        if self.blobs:
            return each
        for name, size in _parts(each):
            if size > self.value:
                return _failure(each, f"{name}: {self._problem(size)}")
        return each

    def _whole_data(self, run: LiveRun, changed: list[Input], decision: Decision) -> None:
        """Replace the outcome that writes most when the data would become too big."""
        sizes = [_written(each) for each in changed]
        if max(sizes, default=0) <= 0:
            return
        size = _size(folded(run.state, decision.rows).data)
        if size <= self.data:
            return
        k = sizes.index(max(sizes))
        changed[k] = _failure(changed[k], f"data: {self._whole(size)}")

    def _problem(self, size: int) -> str:
        if self.blobs:
            return f"is {size:,} bytes long; at most {self.data:,} can be stored (max_data)"
        return (
            f"is {size:,} bytes long; at most {self.value:,} can be stored (max_inline) without a"
            " blob provider: give the host one, WorkflowHost(blobs=...), or store a reference"
        )

    def _whole(self, size: int) -> str:
        return f"would be {size:,} bytes long; at most {self.data:,} can be stored (max_data)"


def _size(value: object) -> int:
    return len(orjson.dumps(value))


def _written(each: Input) -> int:
    """Return how much an input may add to the data: an attempt, a child's end, an answer."""
    if isinstance(each, Received):
        kept = each.payload.get(_RESULTS[each.kind]) if each.kind in _RESULTS else None
        return _size(kept) if kept else 0
    found = getattr(each, "writes", None)
    if not isinstance(found, Writes) or not (found.fields or found.reduced):
        return 0
    return sum(size for _, size in _parts(each))


def _parts(each: Input) -> Iterator[tuple[str, int]]:
    """Yield name and size of what an attempt made: data fields, and its other values."""
    if not hasattr(each, "pointer"):
        return
    for attribute in attrs.fields(cast("type[attrs.AttrsInstance]", type(each))):
        value = getattr(each, attribute.name)
        if isinstance(value, Writes):
            for name, field in (*value.fields.items(), *value.reduced.items()):
                yield f"data.{name}", _size(field)
        elif isinstance(value, str | list | dict):
            yield attribute.name, _size(cast("object", value))


def _failure(each: Input, message: str) -> Input:
    if isinstance(each, Received):
        error = {"type": "DataTypeError", "message": message, "step": None}
        payload = {**each.payload, "status": WorkflowStatus.FAILED.value, "error": error}
        payload[_RESULTS[each.kind]] = {}
        return attrs.evolve(each, payload=payload)
    given: Any = each
    return Failed(
        pointer=given.pointer,
        attempt=given.attempt,
        type="DataTypeError",
        message=message,
        retryable=False,
        spread=0.0,
        started=getattr(given, "started", 0),
    )
