"""Registering definitions and starting runs of them; part of the host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionConflictError
from wfe.host.collect import Buildable, definitions_in
from wfe.host.runs import WorkflowRun

if TYPE_CHECKING:
    from wfe.core.engine import Engine

__all__ = ["Starting"]


class Starting:
    """What a host can run, and how runs begin."""

    _engine: Engine

    def register(self, *sources: Any) -> None:
        """Make definitions known: definitions, objects with ``build()``, or modules full of them.

        Raises:
            DefinitionError: One cannot run here.
            DefinitionConflictError: Versions are strict, and one has other contents.
            TypeError: A source holds no definition.
        """
        for source in sources:
            for definition in definitions_in(source):
                self._engine.register(definition)

    async def start_workflow(  # noqa: PLR0913 - the options of a start
        self,
        definition: str | WorkflowDefinition | Buildable,
        data: Any = None,
        *,
        version: int | None = None,
        name: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
        on_conflict: Literal["existing", "error"] = "existing",
        priority: int = 0,
        delay: timedelta | None = None,
        dedup_key: str | None = None,
        actor: str | None = None,
        within: Any = None,
    ) -> WorkflowRun:
        """Start a run; when this returns it is stored and never lost.

        Args:
            definition: Id of a registered definition, or a definition (which is registered), or
                what builds one: a durable function, a flow.
            data: Of the definition's data type, or a mapping; ``None``: the defaults.  For a
                durable function: its argument, or a mapping by name for several.
            version: ``None``: the highest registered.
            name: Unique in the store.
            reference: The caller's own key, for :meth:`find`.
            idempotency_key: A second start with the same key returns the first run.
            on_conflict: ``error``: refuse a known idempotency key instead.
            priority: Of the runs that wait for a host, those of higher priority go first.
            delay: Before the first step.
            dedup_key: While a run of the definition with this key is not final, another start with
                it returns that run.
            actor: Who starts it, for the history.
            within: The application's own connection to the store's database, in a transaction: the
                run exists when that is committed, and never if it is rolled back.  Until then
                nothing can be asked of the run.

        Raises:
            DefinitionNotFoundError: The definition is not registered.
            DataTypeError: The data cannot be stored, or does not fit its type.
            DuplicateNameError: The name is taken.
            DefinitionConflictError: The key is known and *on_conflict* is ``error``.
            HostStoppingError: The host is not running.
            ProviderError: *within* is no such connection, or the store has no such transactions.
        """
        if on_conflict not in ("existing", "error"):
            problem = f'on_conflict must be "existing" or "error", got {on_conflict!r}'
            raise ValueError(problem)
        from wfe.host.parts import StartOptions  # noqa: PLC0415 - a host has imported it

        if not isinstance(definition, str):
            definition, version = self._known(definition, version)

        options = StartOptions(
            name=name,
            reference=reference,
            idempotency_key=idempotency_key,
            delay=delay,
            actor=actor,
            priority=priority,
            dedup_key=dedup_key,
        )
        if within is None:
            run_id, new = await self._engine.starter.start(definition, version, data, options)
        else:
            run_id, new = await self._engine.outbox.start(
                within, definition, version, data, options
            )
        if not new and on_conflict == "error":
            kind, key = "idempotency key", idempotency_key
            if key is None:
                kind, key = "dedup_key", dedup_key
            problem = f"{kind} {key!r} was used by run {run_id}"
            raise DefinitionConflictError(problem, definition)
        return WorkflowRun(run_id, new, self._engine)

    def _known(self, given: WorkflowDefinition | Buildable, version: int | None) -> tuple[str, int]:
        """Register what is *given*, unless it is; return its id and the version to start."""
        definition = given if isinstance(given, WorkflowDefinition) else _built(given)
        # By identity: an equal tree may come with other callables.
        if not any(known is definition for known in self._engine.registry.given):
            self.register(definition)
        return definition.id, definition.version if version is None else version

    async def run(self, id_or_name: str) -> WorkflowRun:
        """Return a handle on a run that exists.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        header = await self._engine.reads.header(id_or_name)
        return WorkflowRun(header.id, False, self._engine)

    async def drive(self, id_or_name: str) -> WorkflowRun:
        """Drive an unfinished run on this host too; only needed with *own_runs_only*.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        header = await self._engine.reads.header(id_or_name)
        if self._engine.runs.roots is not None:
            self._engine.runs.roots.add(header.root_id)
            self._engine.nudge()
        return WorkflowRun(header.id, False, self._engine)


def _built(source: Any) -> WorkflowDefinition:
    """Return the definition that *source* builds.

    Raises:
        TypeError: It builds none.
    """
    build = getattr(source, "build", None)
    found = build() if callable(build) else None
    if not isinstance(found, WorkflowDefinition):
        problem = f"expected the id of a definition or a definition, got {source!r}"
        raise TypeError(problem)
    return found
