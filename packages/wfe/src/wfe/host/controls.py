"""What callers ask of runs; part of the host."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wfe.host.runs import WorkflowRun, seconds

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.models import Approval, StoredDefinition

__all__ = ["Controls"]


class Controls:
    """Durable intents: each is stored when its method returns, and is in the run's history.

    They are accepted at any time, also while a step runs, and carried out by whoever drives the
    run.  A run is named by its id or name; *actor* and *reason* are kept in the history.
    """

    _engine: Engine

    # -- the course of a run

    async def suspend(
        self, id_or_name: str, reason: str | None = None, *, actor: str | None = None
    ) -> None:
        """Let no further step of a run begin; what runs now ends and is recorded.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
        """
        await self._engine.control.ask(id_or_name, "suspend", reason=reason, actor=actor)

    async def resume(
        self, id_or_name: str, *, actor: str | None = None, reason: str | None = None
    ) -> None:
        """Go on with a suspended run; a step that suspended it is tried again.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
        """
        await self._engine.control.ask(id_or_name, "resume", reason=reason, actor=actor)

    async def terminate(
        self, id_or_name: str, reason: str | None = None, *, actor: str | None = None
    ) -> None:
        """End a run; running bodies are cancelled and sub-workflows ended, abort hooks run.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final already.
        """
        await self._engine.control.ask(id_or_name, "terminate", reason=reason, actor=actor)

    async def retry(
        self,
        id_or_name: str,
        from_step: str | None = None,
        *,
        actor: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Try a failed, terminated or suspended run again; what is complete stays complete.

        Args:
            id_or_name: Of the run.
            from_step: Begin again at this step; ``None``: where it stopped.
            actor: Who asks.
            reason: Why.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is running or complete.
            DefinitionError: It never came to *from_step*.
        """
        await self._engine.control.retry(
            id_or_name, from_step=from_step, actor=actor, reason=reason
        )

    async def skip(
        self,
        id_or_name: str,
        pointer_id: int,
        *,
        actor: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Go on after a step without doing it; a run that it suspended is resumed.

        Args:
            id_or_name: Of the run.
            pointer_id: Of the step's execution, see ``WorkflowInstance.pointers``.
            actor: Who asks.
            reason: Why.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or has no such live pointer.
        """
        await self._engine.control.skip(id_or_name, pointer_id, actor=actor, reason=reason)

    async def patch_data(
        self,
        id_or_name: str,
        fields: Mapping[str, Any],
        *,
        actor: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Set data fields of a run; steps that begin from now on see them.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
            DataTypeError: A value cannot be stored, or does not fit the data type.
        """
        await self._engine.control.patch(id_or_name, fields, actor=actor, reason=reason)

    async def fork(
        self,
        id_or_name: str,
        from_step: str,
        data: Mapping[str, Any] | None = None,
        *,
        actor: str | None = None,
    ) -> WorkflowRun:
        """Start a new run from the state that a run had when a step began; the run stays as it is.

        A host without code for its definition leaves the new run to one that has.

        Args:
            id_or_name: Of the run, finished or not.
            from_step: Where the new run begins, with the data as they were then.
            data: Fields that differ.
            actor: Who asks.

        Raises:
            WorkflowNotFoundError: There is no such run.
            DefinitionError: It never came to *from_step*.
            DataTypeError: A field does not fit the data.
        """
        run_id = await self._engine.control.fork(id_or_name, from_step, data=data, actor=actor)
        return WorkflowRun(run_id, True, self._engine)

    async def rewind(
        self,
        id_or_name: str,
        to_step: str,
        data: Mapping[str, Any] | None = None,
        *,
        actor: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Put a suspended or failed run back to where a step began, and go on from there.

        Args:
            id_or_name: Of the run.
            to_step: It is done again, with the data as they were when it began.
            data: Fields that differ.
            actor: Who asks.
            reason: Why.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is neither suspended nor failed.
            DefinitionError: It never came to *to_step*.
            DataTypeError: A field does not fit the data.
        """
        await self._engine.control.rewind(
            id_or_name, to_step, data=data, actor=actor, reason=reason
        )

    # -- talking to a run

    async def signal(
        self, id_or_name: str, name: str, data: Any = None, *, actor: str | None = None
    ) -> None:
        """Send a signal to one run, for its ``wait_for(name, scope="run")`` now or later.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
            DataTypeError: The data cannot be stored.
        """
        await self._engine.control.signal(id_or_name, name, data=data, actor=actor)

    async def update(
        self,
        id_or_name: str,
        name: str,
        data: Any = None,
        *,
        timeout: timedelta | float | None = None,
        actor: str | None = None,
    ) -> Any:
        """Have a run's handler change it, and return what the handler returns.

        Args:
            id_or_name: Of the run.
            name: Of the handler.
            data: What it gets.
            timeout: Longest wait for the result; a number is seconds; ``None``: no limit.
                The update is stored and done all the same.
            actor: Who asks.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or ended before it answered.
            UpdateRejectedError: It has no such handler, or the handler or its validator refused.
            TimeoutError: It took longer.
        """
        import asyncio  # noqa: PLC0415 - what only declares workflows needs none

        async with asyncio.timeout(seconds(timeout)):
            return await self._engine.control.update(id_or_name, name, data=data, actor=actor)

    async def query(self, id_or_name: str, name: str, data: Any = None) -> Any:
        """Ask a run's query handler; nothing of the run changes.

        Raises:
            WorkflowNotFoundError: There is no such run.
            DefinitionNotFoundError: This host has no code for its definition.
            DefinitionError: It has no such query.
        """
        return await self._engine.control.query(id_or_name, name, data=data)

    async def approve(
        self,
        id_or_name: str,
        answer: str,
        *,
        step: str | None = None,
        comment: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Answer the question of an approval step.

        Args:
            id_or_name: Of the run.
            answer: One of the options.
            step: Which one, when several wait.
            comment: Kept in the history.
            actor: Who answers.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or asks nothing, or several things.
            DataTypeError: *answer* is none of the options.
        """
        await self._engine.control.approve(
            id_or_name, answer, step=step, actor=actor, comment=comment
        )

    async def approvals(self, definition: str | None = None) -> list[Approval]:
        """Return the questions that wait for an answer, the longest-waiting first.

        Args:
            definition: Only of runs of this definition.
        """
        return await self._engine.inventory.approvals(definition)

    # -- definitions

    async def definitions(self, id: str | None = None) -> list[StoredDefinition]:
        """Return the stored definitions, all or those of one id, by id and version."""
        return await self._engine.inventory.definitions(id)

    async def pause_definition(self, id: str) -> bool:
        """Begin no step of any run of a definition until :meth:`resume_definition`.

        Args:
            id: All versions of it, on all hosts; starts are accepted and wait.

        Returns:
            Whether it was not paused before.

        Raises:
            DefinitionNotFoundError: No definition of that id is stored.
        """
        return await self._engine.gates.pause(id, paused=True)

    async def resume_definition(self, id: str) -> bool:
        """Lift the pause of a definition; return whether it was paused."""
        return await self._engine.gates.pause(id, paused=False)
