"""What is said of a whole workflow, and the end of the chain: ``build``."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

import attrs

from wfe.core.builder import arguments as args
from wfe.core.builder.assembly import Defaults, assemble
from wfe.core.builder.drafts import Branch
from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.policies import ErrorPolicy, Fail, Retry

__all__ = ["Buildable", "Whole", "combined"]


@attrs.define(eq=False)
class Whole:
    """The workflow that a chain belongs to."""

    data_type: type | None
    block: Branch = attrs.field(factory=Branch)
    defaults: Defaults = attrs.field(factory=Defaults)


class Buildable:
    """A builder that knows its workflow."""

    _whole: Whole | None

    def default_error(self, policy: ErrorPolicy) -> Self:
        """Say what happens when a step without its own ``on_error`` fails.

        With ``default_retry`` it is what follows when the retries are used up.

        Raises:
            DefinitionError: *policy* is none.
        """
        defaults = self._of_workflow("default_error()").defaults
        given = args.policy(policy, "default_error()", None)
        defaults.error = combined(given, defaults.error, "default_error()")
        return self

    def default_retry(self, retry: int | Retry) -> Self:
        """Say how steps without their own ``on_error`` are tried again; 2 retries are 3 attempts.

        Raises:
            DefinitionError: *retry* is neither a number nor a ``Retry``.
        """
        defaults = self._of_workflow("default_retry()").defaults
        given = args.retries(retry, "default_retry()", None)
        defaults.error = combined(given, defaults.error, "default_retry()")
        return self

    def default_timeout(self, timeout: timedelta | float) -> Self:
        """Limit each attempt of a step without its own ``timeout``; a number is seconds.

        Raises:
            DefinitionError: It is not positive.
        """
        defaults = self._of_workflow("default_timeout()").defaults
        defaults.timeout = args.seconds(timeout, "default_timeout()", None)
        return self

    def definition_timeout(self, timeout: timedelta | float) -> Self:
        """Fail a run that takes longer than this; a number is seconds.

        Raises:
            DefinitionError: It is not positive.
        """
        defaults = self._of_workflow("definition_timeout()").defaults
        defaults.run_timeout = args.seconds(timeout, "definition_timeout()", None)
        return self

    def build(
        self, id: str, version: int = 1, description: str | None = None
    ) -> WorkflowDefinition:
        """Return the definition.

        Args:
            id: With *version* it names the definition; at most 512 bytes.
            version: From 1.
            description: For people.

        Raises:
            DefinitionError: Something in it does not fit together.
        """
        whole = self._of_workflow("build()")
        if not whole.block.drafts:
            name = args.check_text("the id of a workflow", id, None)
            hint = "begin with start_with(...) or then(...)"
            raise DefinitionError("the workflow has no steps", name, hint)
        return assemble(
            whole.block.drafts,
            id=id,
            version=version,
            description=description,
            data_type=whole.data_type,
            defaults=whole.defaults,
        )

    def _of_workflow(self, method: str) -> Whole:
        if self._whole is None:
            problem = f"{method} was called inside a branch"
            raise DefinitionError(problem, None, "call it on the workflow's own builder")
        return self._whole


def combined(
    given: ErrorPolicy, known: ErrorPolicy | None, what: str, where: str | None = None
) -> ErrorPolicy:
    """Return one policy of two: a retry, and what follows when it is used up.

    Raises:
        DefinitionError: Both are retries, or both are what follows.
    """
    if known is None:
        return given
    retry, then = (given, known) if isinstance(given, Retry) else (known, given)
    if not isinstance(retry, Retry) or isinstance(then, Retry) or retry.then != Fail():
        problem = f"{what} contradicts an error policy that was given before"
        raise DefinitionError(problem, where, "give one of them, or Retry(..., then=...)")
    return attrs.evolve(retry, then=then)
