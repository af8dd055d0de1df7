"""What callers ask of runs, and external workers of a host, in blocking form."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from wfe.core.lean import frozen
from wfe.core.models import Activity, Approval, OpenActivity, StoredDefinition
from wfe.host.activities import Activities, Handler
from wfe.host.host import WorkflowHost

__all__ = ["Caller", "SyncActivities", "SyncControls"]

T = TypeVar("T")


class Caller(Protocol):
    """Runs a coroutine on the host's loop and returns its result."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work*."""
        ...


class SyncControls:
    """The methods of :class:`~wfe.host.controls.Controls`, blocking."""

    _host: WorkflowHost
    _ask: Caller

    def suspend(self, id_or_name: str, reason: str | None = None, **options: Any) -> None:
        """Suspend a run; see :meth:`WorkflowHost.suspend`."""
        self._ask(self._host.suspend(id_or_name, reason, **options))

    def resume(self, id_or_name: str, **options: Any) -> None:
        """Resume a run; see :meth:`WorkflowHost.resume`."""
        self._ask(self._host.resume(id_or_name, **options))

    def terminate(self, id_or_name: str, reason: str | None = None, **options: Any) -> None:
        """Terminate a run; see :meth:`WorkflowHost.terminate`."""
        self._ask(self._host.terminate(id_or_name, reason, **options))

    def retry(self, id_or_name: str, from_step: str | None = None, **options: Any) -> None:
        """Try a run again; see :meth:`WorkflowHost.retry`."""
        self._ask(self._host.retry(id_or_name, from_step, **options))

    def skip(self, id_or_name: str, pointer_id: int, **options: Any) -> None:
        """Go on after a step without doing it; see :meth:`WorkflowHost.skip`."""
        self._ask(self._host.skip(id_or_name, pointer_id, **options))

    def patch_data(self, id_or_name: str, fields: Mapping[str, Any], **options: Any) -> None:
        """Set data fields of a run; see :meth:`WorkflowHost.patch_data`."""
        self._ask(self._host.patch_data(id_or_name, fields, **options))

    def rewind(
        self,
        id_or_name: str,
        to_step: str,
        data: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Put a run back to where a step began; see :meth:`WorkflowHost.rewind`."""
        self._ask(self._host.rewind(id_or_name, to_step, data, **options))

    def signal(self, id_or_name: str, name: str, data: Any = None, **options: Any) -> None:
        """Send a signal to one run; see :meth:`WorkflowHost.signal`."""
        self._ask(self._host.signal(id_or_name, name, data, **options))

    def update(self, id_or_name: str, name: str, data: Any = None, **options: Any) -> Any:
        """Have a run's handler change it; see :meth:`WorkflowHost.update`."""
        return self._ask(self._host.update(id_or_name, name, data, **options))

    def query(self, id_or_name: str, name: str, data: Any = None) -> Any:
        """Ask a run's query handler; see :meth:`WorkflowHost.query`."""
        return self._ask(self._host.query(id_or_name, name, data))

    def approve(self, id_or_name: str, answer: str, **options: Any) -> None:
        """Answer the question of an approval step; see :meth:`WorkflowHost.approve`."""
        self._ask(self._host.approve(id_or_name, answer, **options))

    def approvals(self, definition: str | None = None) -> list[Approval]:
        """Return the questions that wait for an answer."""
        return self._ask(self._host.approvals(definition))

    def definitions(self, id: str | None = None) -> list[StoredDefinition]:
        """Return the stored definitions."""
        return self._ask(self._host.definitions(id))

    def pause_definition(self, id: str) -> bool:
        """Begin no step of any run of a definition; see :meth:`WorkflowHost.pause_definition`."""
        return self._ask(self._host.pause_definition(id))

    def resume_definition(self, id: str) -> bool:
        """Lift the pause of a definition; return whether it was paused."""
        return self._ask(self._host.resume_definition(id))


@frozen
class SyncActivities:
    """The methods of :class:`~wfe.host.activities.Activities`, blocking."""

    _activities: Activities
    _call: Caller

    def claim(
        self,
        name: str | Sequence[str],
        worker: str | None = None,
        wait: timedelta = timedelta(0),
        lease: timedelta = timedelta(minutes=5),
    ) -> Activity | None:
        """Claim the oldest activity that nobody works on; see :meth:`Activities.claim`."""
        return self._call(self._activities.claim(name, worker, wait, lease))

    def complete(self, token: str, result: Any = None) -> None:
        """Hand in the result; see :meth:`Activities.complete`."""
        self._call(self._activities.complete(token, result))

    def fail(self, token: str, error: str | BaseException, **options: Any) -> None:
        """Say that the work failed; see :meth:`Activities.fail`."""
        self._call(self._activities.fail(token, error, **options))

    def heartbeat(
        self, token: str, progress: Any = None, *, lease: timedelta | None = None
    ) -> None:
        """Hold the claim; see :meth:`Activities.heartbeat`."""
        options = {} if lease is None else {"lease": lease}
        self._call(self._activities.heartbeat(token, progress, **options))

    def find(self, run: str | None = None) -> list[OpenActivity]:
        """Return the activities that are not done, oldest first."""
        return self._call(self._activities.find(run))

    def work(self, name: str | Sequence[str], handler: Handler, **options: Any) -> None:
        """Serve activities until the host stops; see :meth:`Activities.work`."""
        self._call(self._activities.work(name, handler, **options))
