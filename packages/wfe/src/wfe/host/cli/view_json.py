"""A JSON object for everything that happens, one a line: what programs read."""

from __future__ import annotations

import json
from typing import Any, ClassVar, TextIO

import attrs

from wfe.core.lean import define
from wfe.core.models import LifecycleEvent
from wfe.host.cli.model import Change, Picture
from wfe.host.cli.output import Output
from wfe.host.cli.result import Result, plain

__all__ = ["JsonView", "event_json"]


def event_json(event: LifecycleEvent) -> dict[str, Any]:
    """Return an event as ``{event, run, step, time, …}``; a line has ``stream`` and ``line``."""
    shown: dict[str, Any] = {
        "event": event.kind,
        "run": event.instance_id,
        "step": event.step,
        "time": event.at.isoformat(),
    }
    place = {"pointer": event.pointer, "attempt": event.attempt}
    shown.update({key: value for key, value in place.items() if value is not None})
    more = {key: plain(value) for key, value in (event.data or {}).items()}
    return {**more, **shown}


@define
class JsonView:
    """Writes JSON Lines; the last has ``status`` and ``outputs``."""

    compares: ClassVar[bool] = False
    _stream: TextIO
    _out: Output = attrs.field(
        default=attrs.Factory(lambda self: Output(self._stream), takes_self=True), init=False
    )

    def _write(self, value: dict[str, Any]) -> None:
        self._out.line(json.dumps(value, ensure_ascii=False))

    def begin(self, picture: Picture) -> None:
        """Say nothing before the first event."""

    def tell(self, event: LifecycleEvent, change: Change) -> None:  # noqa: ARG002 - a view
        """Write the event."""
        self._write(event_json(event))

    def tick(self) -> None:
        """Time is in the events."""

    def close(self) -> None:
        """Nothing is held."""

    def finish(self, result: Result) -> None:
        """Write how it ended: event ``result``."""
        error = result.instance.error
        self._write(
            {
                "event": "result",
                "run": result.instance.id,
                "step": None,
                "time": result.now.isoformat(),
                "status": result.status,
                "outputs": result.outputs(),
                "error": None if error is None else attrs.asdict(error),
            }
        )
