"""How a drive ended, and what to tell a user of it: pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Final, cast

import attrs

from wfe.core.definition import WorkflowDefinition
from wfe.core.lean import frozen
from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.host.cli.drawing import STATUS_GLYPHS, clock_time, comparison, duration
from wfe.host.cli.errors import Exit
from wfe.host.cli.figures import slowest, tally
from wfe.host.cli.model import Change, Picture
from wfe.host.cli.stored import Stuck
from wfe.host.cli.tails import Notice
from wfe.host.cli.visits import State, error_text

__all__ = ["Result", "code_of", "failures", "notice_line", "outputs", "plain", "short", "to_json"]

_LAST: Final = 10  # lines shown of a failed step
_WIDEST: Final = 200  # characters of an output's value that are shown
_NOTICES: Final = 10  # annotations that are shown in the end
_LEVELS: Final[Mapping[str, str]] = {"error": "✖", "warning": "!", "notice": "•"}

_CODES: Final[Mapping[WorkflowStatus, Exit]] = {
    WorkflowStatus.COMPLETE: Exit.COMPLETE,
    WorkflowStatus.FAILED: Exit.FAILED,
    WorkflowStatus.SUSPENDED: Exit.WAITING,
    WorkflowStatus.TERMINATED: Exit.TERMINATED,
}


def code_of(status: WorkflowStatus) -> Exit:
    """Return the exit code of a run with this status; one that runs is waited for."""
    return _CODES.get(status, Exit.WAITING)


def plain(value: Any) -> Any:
    """Return a value of a run as what JSON can hold; what it cannot is shown as text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in cast("Any", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in cast("Iterable[Any]", value)]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    cls: Any = value.__class__
    if attrs.has(cls):
        return plain(attrs.asdict(value, recurse=False))
    if hasattr(cls, "__dataclass_fields__"):
        return plain(vars(value))
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def to_json(value: Any) -> str:
    """Return a value of a run as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(", ", ": "))


def short(value: Any) -> str:
    """Return a value for a line on a terminal."""
    text = value if isinstance(value, str) else to_json(value)
    first, *more = text.split("\n")
    cut = first[:_WIDEST]
    return cut + " …" if more or len(first) > _WIDEST else cut


def outputs(data: Any, definition: WorkflowDefinition | None) -> dict[str, Any]:
    """Return what a run gave: the declared outputs of a file's workflow, else its data."""
    given: Any = plain(data)
    if definition is not None and "inputs" in definition.meta and isinstance(given, dict):
        given = cast("dict[str, Any]", given).get("outputs")
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}


def failures(picture: Picture) -> list[Change]:
    """Return the executions to blame for a failed or suspended run, the innermost ones."""
    found: list[Change] = []
    for run in picture.runs.values():
        step = run.steps.get(run.culprit) if run.culprit is not None else None
        if step is None:
            continue
        failed = [v for v in step.visits.values() if v.state is State.FAILED and v.child is None]
        found.extend(Change(run, step, visit) for visit in failed[-1:])
    return found


def notice_line(notice: Notice) -> str:
    """Return an annotation as a line: what, where and who says so."""
    title = f"{notice.title}: " if notice.title else ""
    place = f" ({notice.place})" if notice.place else ""
    return f"{_LEVELS[notice.level]} {notice.path}: {title}{notice.message}{place}"


def _named(change: Change) -> str | None:
    return change.step.name if change.step is not None else None


def _noticed(picture: Picture) -> list[str]:
    """Return the annotations of a run, errors first, each said once."""
    said: dict[tuple[str, ...], list[Notice]] = {}
    for notice in sorted(picture.notices, key=lambda each: list(_LEVELS).index(each.level)):
        key = (notice.level, notice.title or "", notice.message, notice.place)
        said.setdefault(key, []).append(notice)
    rows = list(said.values())
    lines: list[str] = []
    for first, *others in rows[:_NOTICES]:
        more = (
            f", {len(others)} more step{'' if len(others) == 1 else 's'} said so" if others else ""
        )
        lines.append(f"  {notice_line(first)}{more}")
    left = len(rows) - _NOTICES + picture.dropped
    if left > 0:
        lines.append(f"  … {left} more annotation{'' if left == 1 else 's'}")
    return lines


@frozen(kw_only=True)
class Result:
    """How a drive ended.

    Attributes:
        instance: The run as stored at the end.
        stuck: Why it cannot go on by itself, ``None``: it is final or was interrupted.
        now: When the drive ended.
        source: File or module, ``None``: none was named.
        db: `` --db URL`` unless it is the default store.
        again: The command that started it, ``None``: it was resumed.
        kept: Whether the store outlives this process.
    """

    instance: WorkflowInstance[Any]
    picture: Picture
    now: datetime
    stuck: Stuck | None = None
    interrupted: bool = False
    source: str | None = None
    db: str = ""
    again: str | None = None
    kept: bool = True
    definition: WorkflowDefinition | None = None

    @property
    def code(self) -> Exit:
        """What the process exits with."""
        if self.stuck is not None:
            return Exit.WAITING
        if self.interrupted:
            return Exit.INTERRUPTED
        return code_of(self.instance.status)

    @property
    def status(self) -> str:
        """The run's status, or why this process left a run that is not final."""
        if self.stuck is not None:
            return "suspended" if self.stuck.suspended else "waiting"
        return "interrupted" if self.interrupted else self.instance.status.value

    @property
    def resume(self) -> str:
        """The command that goes on with the run."""
        source = f" {shlex.quote(self.source)}" if self.source is not None else ""
        return f"wfe run{source} --resume {self.instance.id}{self.db}"

    def outputs(self) -> dict[str, Any]:
        """What the run gave, empty unless it is complete."""
        if self.instance.status is not WorkflowStatus.COMPLETE:
            return {}
        return outputs(self.instance.data, self.definition)

    def summary(self) -> list[str]:
        """Return the lines that end every view but the JSON one."""
        if self.stuck is not None:
            return self._gone(self._left(self.stuck))
        if self.interrupted:
            stopped = f"↯ {self._who()} interrupted after {self._took()}"
            return self._gone([stopped, f"resume with: {self.resume}"])
        head = f"{STATUS_GLYPHS[self.instance.status]} {self._who()} {self.instance.status}"
        match self.instance.status:
            case WorkflowStatus.COMPLETE:
                return [f"{head} in {self._took()}{self._last()}", *self._outputs(), *self._noted()]
            case WorkflowStatus.FAILED:
                return [
                    f"{head} in {self._took()}: {self._reason()}",
                    *self._blame(),
                    *self._noted(),
                    *self._advice(),
                ]
            case _:
                return [
                    f"{head} after {self._took()}"
                    + (f": {self._reason()}" if self._reason() else "")
                ]

    def _gone(self, lines: list[str]) -> list[str]:
        """Replace the advice on how to go on where nothing is left to go on with."""
        return lines if self.kept else [lines[0], "  it was in memory only: nothing of it is kept"]

    def _who(self) -> str:
        return f"{self.instance.definition} (run {self.instance.id})"

    def _took(self) -> str:
        end = self.instance.completed_at or self.now
        return duration((end - self.instance.created_at).total_seconds())

    def _last(self) -> str:
        """Return how long the last run took when this one took another time."""
        last = self.picture.times.runs.get(self.instance.definition)
        end = self.instance.completed_at or self.now
        return comparison((end - self.instance.created_at).total_seconds(), last, over=True)

    def _noted(self) -> list[str]:
        """Return what steps annotated, what was left out, and where the time went."""
        lines = _noticed(self.picture)
        count = tally(self.picture)
        if count.cached or count.skipped or count.cancelled:
            lines.append(f"  {count}")
        slow = slowest(self.picture)
        if slow:
            told = ", ".join(f"{path} {duration(taken)}" for path, taken in slow)
            lines.append(f"  slowest: {told}")
        return lines

    def _reason(self) -> str:
        error = self.instance.error
        if error is None:
            return ""
        text = error_text(error.type, error.message)
        blamed = [each.path for each in failures(self.picture) if error.step == _named(each)]
        where = blamed[-1] if blamed else error.step
        return f"{where}: {text}" if where else text

    def _outputs(self) -> list[str]:
        found = self.outputs()
        width = max((len(name) for name in found), default=0)
        return [f"  {name:<{width}}  {short(value)}" for name, value in found.items()]

    def _blame(self) -> list[str]:
        lines: list[str] = []
        for change in failures(self.picture):
            if change.visit is not None and change.visit.output.lines:
                lines.append(f"  last lines of {change.path}:")
                lines += [f"  │ {line}" for line in list(change.visit.output.lines)[-_LAST:]]
        return lines

    def _advice(self) -> list[str]:
        blamed = failures(self.picture)
        step = f" --step {shlex.quote(blamed[-1].step.name)}" if blamed and blamed[-1].step else ""
        lines = [f"  all its lines:  wfe logs {self.instance.id}{step}{self.db}"]
        if self.again is not None:
            lines.append(f"  run it again:   {self.again}")
        if self.kept:
            lines.append(f"  or what failed: {self.resume} --rerun-failed")
        return lines

    def _left(self, stuck: Stuck) -> list[str]:
        if stuck.suspended is not None:
            reason = f": {self._reason()}" if self._reason() else ""
            return [
                f"⏸ {self._who()} is suspended{reason}",
                *self._blame(),
                f"  lift the suspension:  wfe resume {stuck.suspended}{self.db}",
                f"  then go on with:      {self.resume}",
            ]
        named = ", ".join(f"{name} (key {key})" if key else name for name, key in stuck.events)
        events = [f"{'events' if len(stuck.events) > 1 else 'event'} {named}"] if named else []
        waits = [*events, *(what for what, _ in stuck.asks)]
        lines = [f"⏸ {self._who()} waits for {', '.join(waits)}"]
        lines += [f"  answer it:        {how}{self.db}" for _, how in stuck.asks if how]
        for name, key in stuck.events:
            words = " ".join(shlex.quote(word) for word in (name, key) if word)
            lines.append(f"  publish it:       wfe publish {words}{self.db}")
        if stuck.until is not None:
            left = duration((stuck.until - self.now).total_seconds())
            lines.append(f"  times out:        {clock_time(stuck.until, self.now)} (in {left})")
        return [*lines, f"  then go on with:  {self.resume}"]


def now_utc() -> datetime:
    """Return the time of the views."""
    return datetime.now(UTC)
